//! Virtual locks, virtual radios, an embedded broker; cardea-demo.
