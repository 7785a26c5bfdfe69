//! What the end-to-end tests share: [`process`] starts the real program and talks to it.

pub mod process;
