//! `cardea-platform`: the owner's platform as one program, on top of `cardea-sdk`.
//!
//! `serve` holds the platform and its broker link; every other command talks to it over a Unix socket (mode 0600,
//! in the state directory) or, when none runs, opens the platform itself for as long as it takes. The program
//! adds no protocol and no trust of its own: whoever may open the socket or the state directory is the owner.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line speaks to people

mod cli;
mod config;
mod factory;
mod grants;
mod holder;
mod init;
mod owner_code;
mod pins;
mod root;
mod service;
mod site;
mod socket;
mod terms;

pub use cli::main;

/// What the fuzz targets drive.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    /// `platform.toml`.
    pub fn platform_config(data: &[u8]) {
        if let Ok(text) = std::str::from_utf8(data) {
            crate::config::fuzz(text);
        }
    }

    /// One line on the Unix socket of `serve`.
    pub fn platform_request(data: &[u8]) {
        crate::service::fuzz(data);
    }
}
