//! English.

use super::{Advice, Device};

pub(in crate::texts) const TEXTS: Device = Device {
    activation: "Activation",
    step_activate: "Its owner activates it",
    step_activate_wait: "Comes after its first frame.",
    step_activate_now: "Enter the owner code at your platform, if that is not done yet. Lock and platform then prove it to each other by themselves, within a few minutes.",
    step_activate_done: "The platform says so, signed.",
    activated: "The lock is activated",
    activated_more: "Lock and platform have proved the owner code to each other. It is done.",
    wrong_code: Advice {
        what: "The owner code is wrong",
        todo: "Compare what was entered at the platform with the lock's second label, and enter it there again, never here. Then touch the lock: it tries again by itself.",
    },
    owned: Advice {
        what: "This lock belongs to somebody already",
        todo: "It was activated before and takes no other owner. Whoever owns it has to let it go at their platform, with the button inside the door. After that it can be activated.",
    },
    signed_by: "Signed by the platform whose key this gateway has pinned.",
};
