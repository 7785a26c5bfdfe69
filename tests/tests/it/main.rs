//! All integration tests, one binary.

// The conformance suite is one text, compiled once for each driver.
#![allow(clippy::duplicate_mod)]

mod agents;
mod browser_library;
mod conformance;
mod coturn;
mod crossing;
mod e2e;
mod enishi_v1;
mod hub;
mod interop;
mod journal;
mod limits;
mod network;
mod page;
mod ports;
mod recording;
mod relays;
mod rooms;
mod sim;
mod socketio;
mod socketio_clients;
mod tidy;
mod transcripts;
mod zenn_tonybai;
