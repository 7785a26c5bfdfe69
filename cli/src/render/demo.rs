//! The lines of other systems' demos, for people who know them: conic's of `--greet`, and of `--chatter` those that
//! Tony Bai's article shows. Pure, like its parent.
//!
//! A demo takes place on the first channel with each peer, and its lines name no peer. So one peer at a time, the first
//! one there, goes without a name; a line about another one begins with `[id]`. What happens on other channels is told
//! in our own words, which always say with whom and where.

use std::collections::BTreeMap;
use std::time::Duration;

use enishi_core::agent::AgentNotice;
use enishi_core::escape::Escaped;
use enishi_core::peer::{ChannelSpec, PeerState};
use enishi_core::signal::{Name, Payload};

use crate::args::Role;
use crate::render::{Level, Line, promises, shown};

/// A demo, and with whom it goes on.
#[derive(Debug)]
pub struct Demo {
    words: Words,
    /// The first channel with each peer.
    channels: BTreeMap<Name, String>,
    /// Whose lines need no name.
    unnamed: Option<Name>,
}

#[derive(Debug)]
enum Words {
    Conic,
    TonyBai { role: Role, every: Duration },
}

impl Demo {
    /// The greetings of conic's peers.
    pub fn conic() -> Self {
        Demo::new(Words::Conic)
    }

    /// The chatter of Tony Bai's peers, a text `every` so often.
    pub fn tony_bai(role: Role, every: Duration) -> Self {
        Demo::new(Words::TonyBai { role, every })
    }

    fn new(words: Words) -> Self {
        Demo { words, channels: BTreeMap::new(), unnamed: None }
    }

    /// The demo's line for a notice; `None` if it has none, and our own words serve.
    pub fn line(&mut self, notice: &AgentNotice) -> Option<Line> {
        match notice {
            AgentNotice::ChannelOpened { id, spec } => {
                self.channels.entry(id.clone()).or_insert_with(|| spec.label.clone());
                self.unnamed.get_or_insert_with(|| id.clone());
                let about = self.about(id, &spec.label)?;
                Some(Line::Status(Level::Info, about + &self.words.opened(spec)))
            }
            AgentNotice::Sent { id, label, payload } => {
                let about = self.about(id, label)?;
                Some(Line::Status(Level::Info, about + &self.words.sent(payload)))
            }
            AgentNotice::Message { id, label, payload } => {
                let about = self.about(id, label)?;
                Some(Line::Data(about + &self.words.received(label, payload)))
            }
            AgentNotice::ChannelClosed { id, label } if self.channels.get(id) == Some(label) => {
                self.channels.remove(id);
                None
            }
            AgentNotice::Peer { id, state: PeerState::Closed } => {
                self.channels.remove(id);
                self.unnamed.take_if(|unnamed| unnamed == id);
                None
            }
            _ => None,
        }
    }

    /// What a line about this peer begins with; `None` if the demo does not take place on this channel.
    fn about(&self, id: &Name, label: &str) -> Option<String> {
        self.channels.get(id).filter(|first| *first == label)?;
        Some(if self.unnamed.as_ref() == Some(id) { String::new() } else { format!("[{id}] ") })
    }
}

impl Words {
    fn opened(&self, spec: &ChannelSpec) -> String {
        let (label, promises) = (Escaped(&spec.label), promises(spec));
        match self {
            Words::Conic => format!("📨 Data channel '{label}' is open{promises}"),
            Words::TonyBai { role, every } => format!(
                "{}: Data channel '{label}' open{promises}. Random messages will now be sent to any connected \
                 DataChannels every {} seconds",
                side(*role),
                every.as_secs_f64()
            ),
        }
    }

    fn sent(&self, payload: &Payload) -> String {
        let text = shown(payload);
        match self {
            Words::Conic => format!("✅ Sent: {text}"),
            Words::TonyBai { role, .. } => format!("{}: Sending '{text}'", side(*role)),
        }
    }

    fn received(&self, label: &str, payload: &Payload) -> String {
        let (label, text) = (Escaped(label), shown(payload));
        match self {
            Words::Conic => format!("📩 Received: {text}"),
            Words::TonyBai { role: Role::Offer, .. } => format!("offer: Message from DataChannel '{label}': '{text}'"),
            Words::TonyBai { role: Role::Answer, .. } => {
                format!("answer: message from DataChannel '{label}': '{text}'")
            }
        }
    }
}

fn side(role: Role) -> &'static str {
    match role {
        Role::Offer => "offer",
        Role::Answer => "answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: &str, label: &str) -> AgentNotice {
        let spec = ChannelSpec { label: label.into(), ordered: true, max_retransmits: None, max_lifetime: None };
        AgentNotice::ChannelOpened { id: id.into(), spec }
    }

    fn sent(id: &str, label: &str, text: &str) -> AgentNotice {
        AgentNotice::Sent { id: id.into(), label: label.into(), payload: Payload::Text(text.into()) }
    }

    fn heard(id: &str, label: &str, text: &str) -> AgentNotice {
        AgentNotice::Message { id: id.into(), label: label.into(), payload: Payload::Text(text.into()) }
    }

    fn closed(id: &str) -> AgentNotice {
        AgentNotice::Peer { id: id.into(), state: PeerState::Closed }
    }

    fn info(text: &str) -> Option<Line> {
        Some(Line::Status(Level::Info, text.to_owned()))
    }

    fn data(text: &str) -> Option<Line> {
        Some(Line::Data(text.to_owned()))
    }

    #[test]
    fn greetings_look_as_conics() {
        let mut demo = Demo::conic();
        assert_eq!(demo.line(&opened("bob", "chat")), info("📨 Data channel 'chat' is open"));
        assert_eq!(demo.line(&sent("bob", "chat", "hi")), info("✅ Sent: hi"));
        assert_eq!(demo.line(&heard("bob", "chat", "hello")), data("📩 Received: hello"));
    }

    #[test]
    fn chatter_looks_as_tony_bais_on_either_side() {
        let mut demo = Demo::tony_bai(Role::Offer, Duration::from_secs(5));
        let wanted = "offer: Data channel 'data' open. Random messages will now be sent to any connected DataChannels \
                      every 5 seconds";
        assert_eq!(demo.line(&opened("answer-peer-1", "data")), info(wanted));
        assert_eq!(demo.line(&sent("answer-peer-1", "data", "offer-1")), info("offer: Sending 'offer-1'"));
        let wanted = data("offer: Message from DataChannel 'data': 'answer-2'");
        assert_eq!(demo.line(&heard("answer-peer-1", "data", "answer-2")), wanted);

        let mut demo = Demo::tony_bai(Role::Answer, Duration::from_millis(500));
        let wanted = "answer: Data channel 'data' open. Random messages will now be sent to any connected DataChannels \
                      every 0.5 seconds";
        assert_eq!(demo.line(&opened("offer-peer-1", "data")), info(wanted));
        assert_eq!(demo.line(&sent("offer-peer-1", "data", "answer-2")), info("answer: Sending 'answer-2'"));
        let wanted = data("answer: message from DataChannel 'data': 'offer-1'");
        assert_eq!(demo.line(&heard("offer-peer-1", "data", "offer-1")), wanted);
    }

    #[test]
    fn one_peer_at_a_time_goes_without_a_name() {
        let mut demo = Demo::conic();
        demo.line(&opened("bob", "chat"));
        assert_eq!(demo.line(&opened("carol", "chat")), info("[carol] 📨 Data channel 'chat' is open"));
        assert_eq!(demo.line(&heard("carol", "chat", "hi")), data("[carol] 📩 Received: hi"));
        assert_eq!(demo.line(&heard("bob", "chat", "hi")), data("📩 Received: hi"));
        demo.line(&closed("bob"));
        assert_eq!(demo.line(&sent("carol", "chat", "hi")), info("[carol] ✅ Sent: hi"));
        assert_eq!(demo.line(&opened("dave", "chat")), info("📨 Data channel 'chat' is open"));
    }

    #[test]
    fn other_channels_and_states_are_told_in_our_own_words() {
        let mut demo = Demo::conic();
        demo.line(&opened("bob", "chat"));
        for notice in [
            opened("bob", "notes"),
            heard("bob", "notes", "hi"),
            sent("bob", "notes", "hi"),
            heard("carol", "chat", "no channel of hers is open"),
            AgentNotice::ChannelClosed { id: "bob".into(), label: "chat".into() },
            heard("bob", "chat", "the demo's channel is closed"),
        ] {
            assert_eq!(demo.line(&notice), None, "{notice:?}");
        }
        assert_eq!(demo.line(&opened("bob", "again")), info("📨 Data channel 'again' is open"));
    }

    #[test]
    fn remote_text_can_do_nothing_to_a_terminal() {
        let evil = "\u{1b}]52;c;x\u{7}\r\n\u{202e}\u{9b}31m";
        for mut demo in [Demo::conic(), Demo::tony_bai(Role::Answer, Duration::from_secs(5))] {
            demo.line(&opened("bob", "chat"));
            for notice in [opened(evil, evil), heard(evil, evil, evil), sent(evil, evil, evil)] {
                let Some(Line::Data(text) | Line::Status(_, text)) = demo.line(&notice) else { panic!("no line") };
                assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
            }
        }
    }
}
