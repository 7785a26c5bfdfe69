//! Skeleton: signatures that the rest compiles against.
#![allow(missing_docs, unused_variables, clippy::todo, clippy::ptr_arg)]
use super::*;
#[derive(Debug, Default)]
pub struct Server {}
impl Server {
    pub fn detect(frame: &Frame) -> Option<Self> {
        None
    }
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        todo!()
    }
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        todo!()
    }
}
#[derive(Debug, Default)]
pub struct Client {}
impl Client {
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        todo!()
    }
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        todo!()
    }
}
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    todo!()
}
