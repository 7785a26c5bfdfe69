//! The only way to the hub. What it was asked and what came of it can be watched.

use std::time::Duration;

use super::Server;
use crate::hub::{ClientId, HubEffect};
use crate::machine::ConnId;
use crate::signal::{Command, Departure, Name, Refusal, Tag};

/// What the server asks of its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// [`Hub::attach`](crate::hub::Hub::attach), and its answer; `None`: the server is full.
    Attach(ConnId, Option<ClientId>),
    /// [`Hub::detach`](crate::hub::Hub::detach).
    Detach(ClientId, Departure),
    /// [`Hub::command`](crate::hub::Hub::command).
    Command(ClientId, Command),
    /// [`Hub::refuse`](crate::hub::Hub::refuse).
    Refuse(ClientId, Refusal, Option<Name>, Option<Tag>),
    /// [`Hub::timeout`](crate::hub::Hub::timeout).
    Timeout,
    /// [`Hub::put_off`](crate::hub::Hub::put_off).
    PutOff(Duration),
}

/// One thing that the hub was asked, and what it wanted done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubStep {
    /// What was asked.
    pub asked: Asked,
    /// What came of it.
    pub effects: Vec<HubEffect>,
}

impl Server {
    /// From now on, what the hub is asked is kept for [`Server::take_hub_steps`]: for tests that hold a model against it.
    pub fn watch_hub(&mut self) {
        self.hub_steps.get_or_insert_default();
    }

    /// What the hub was asked since the last time, in order, if it is watched.
    pub fn take_hub_steps(&mut self) -> Vec<HubStep> {
        self.hub_steps.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn attach(&mut self, conn: ConnId) -> Result<ClientId, Refusal> {
        let attached = self.hub.attach(conn);
        self.note(|| Asked::Attach(conn, attached.ok()), &[]);
        attached
    }

    /// What the hub wants done for it.
    pub(super) fn ask(&mut self, asked: Asked) -> Vec<HubEffect> {
        let watched = self.hub_steps.is_some().then(|| asked.clone());
        let mut fx = std::mem::take(&mut self.effects);
        match asked {
            // Answered by [`Server::attach`].
            Asked::Attach(..) => {}
            Asked::Detach(client, why) => self.hub.detach(self.now, client, why, &mut fx),
            Asked::Command(client, command) => {
                let unix = self.clock.unix(self.now);
                self.hub.command(self.now, unix, client, command, &mut fx);
            }
            Asked::Refuse(client, refusal, to, tag) => self.hub.refuse(client, refusal, to, tag, &mut fx),
            Asked::Timeout => self.hub.timeout(self.now, &mut fx),
            Asked::PutOff(by) => self.hub.put_off(by),
        }
        if let Some(asked) = watched {
            self.note(|| asked, &fx);
        }
        fx
    }

    fn note(&mut self, asked: impl FnOnce() -> Asked, effects: &[HubEffect]) {
        if let Some(steps) = &mut self.hub_steps {
            steps.push(HubStep { asked: asked(), effects: effects.to_vec() });
        }
    }
}
