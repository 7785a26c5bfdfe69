//! The header: all that makes a server what it is.

use std::time::Duration;

use bytes::Bytes;

use super::Header;
use super::wire::{Broken, Reader, Writer};
use crate::dialect::Family;
use crate::http::asset::Asset;
use crate::limits::Limits;
use crate::server::{Listener, ServerConfig};
use crate::turn::{Issuer, Secret};

/// The end of the year 9999, the last that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// As the flags have it: more makes sums overflow.
const LARGEST: usize = 1 << 40;

impl Header {
    pub(super) fn write(&self, to: &mut Writer) {
        to.text(&self.program);
        to.flag(self.redacted);
        to.number(self.unix.as_secs());
        to.number(self.unix.subsec_nanos().into());
        to.fixed(&self.seed);
        let ServerConfig { limits, allow_origins, ice_servers, turn, listeners, token, assets, test_echo } =
            &self.config;
        write_limits(to, limits);
        to.list(allow_origins, |to, origin| to.text(origin));
        to.list(ice_servers, |to, server| to.text(server));
        to.option(turn.as_ref(), |to, turn| {
            to.bytes_of(turn.secret.bytes());
            to.list(&turn.uris, |to, uri| to.text(uri));
            to.time(turn.ttl);
        });
        to.list(listeners, |to, listener| {
            to.address(listener.address);
            to.option(listener.only, |to, family| to.text(family.name()));
        });
        to.option(token.as_ref(), |to, token| to.text(token));
        to.flag(*test_echo);
        // Journals from before there were any end here.
        if !assets.is_empty() {
            to.list(assets, |to, asset| {
                to.text(&asset.path);
                to.text(&asset.content_type);
                to.bytes_of(&asset.body);
            });
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let program = from.text()?.to_owned();
        let redacted = from.flag()?;
        let (seconds, nanos) = (from.number()?, from.small::<u32>()?);
        if seconds > LAST_SECOND || nanos >= 1_000_000_000 {
            return Err(Broken("a start out of range"));
        }
        let config_of = |from: &mut Reader<'_>| {
            Ok(ServerConfig {
                limits: read_limits(from)?,
                allow_origins: from.list(text)?,
                ice_servers: from.list(text)?,
                turn: from.option(|from| {
                    Ok(Issuer { secret: Secret::new(from.bytes_of()?), uris: from.list(text)?, ttl: from.time()? })
                })?,
                listeners: from.list(|from| {
                    Ok(Listener { address: from.address()?, only: from.option(|from| family(from.text()?))? })
                })?,
                token: from.option(text)?,
                test_echo: from.flag()?,
                assets: if from.is_empty() { Vec::new() } else { from.list(asset)? },
            })
        };
        let (unix, seed) = (Duration::new(seconds, nanos), from.fixed()?);
        Ok(Header { program, redacted, unix, seed, config: config_of(from)? })
    }
}

fn asset(from: &mut Reader<'_>) -> Result<Asset, Broken> {
    Ok(Asset::new(from.text()?, from.text()?, Bytes::copy_from_slice(from.bytes_of()?)))
}

fn text(from: &mut Reader<'_>) -> Result<String, Broken> {
    from.text().map(str::to_owned)
}

fn family(name: &str) -> Result<Family, Broken> {
    let known = Family::DEFAULTS.into_iter().map(|(family, _, _)| family).find(|family| family.name() == name);
    known.ok_or(Broken("a listener for a family that this version does not know"))
}

/// In the order of the fields. Both name all of them: a new field does not compile before it is here.
fn write_limits(to: &mut Writer, limits: &Limits) {
    let Limits {
        connections,
        connections_per_address,
        head,
        first_message,
        whole_message,
        ping,
        dead,
        close,
        message_bytes,
        messages_per_second,
        message_burst,
        outbox_soft_bytes,
        outbox_soft_messages,
        outbox_hard_bytes,
        outbox_hard_messages,
        stall,
        clients,
        names_per_client,
        rooms,
        room_members,
        rooms_per_client,
        grace,
        replay_events,
        replay_bytes,
        drain,
    } = limits;
    to.size(*connections);
    to.size(*connections_per_address);
    for time in [head, first_message, whole_message, ping, dead, close] {
        to.time(*time);
    }
    to.size(*message_bytes);
    to.number(u64::from(*messages_per_second));
    to.number(u64::from(*message_burst));
    for size in [outbox_soft_bytes, outbox_soft_messages, outbox_hard_bytes, outbox_hard_messages] {
        to.size(*size);
    }
    to.time(*stall);
    for size in [clients, names_per_client, rooms, room_members, rooms_per_client] {
        to.size(*size);
    }
    to.time(*grace);
    to.size(*replay_events);
    to.size(*replay_bytes);
    to.time(*drain);
}

fn read_limits(from: &mut Reader<'_>) -> Result<Limits, Broken> {
    Ok(Limits {
        connections: size(from)?,
        connections_per_address: size(from)?,
        head: period(from)?,
        first_message: period(from)?,
        whole_message: period(from)?,
        ping: period(from)?,
        dead: period(from)?,
        close: period(from)?,
        message_bytes: size(from)?,
        messages_per_second: from.small()?,
        message_burst: from.small()?,
        outbox_soft_bytes: size(from)?,
        outbox_soft_messages: size(from)?,
        outbox_hard_bytes: size(from)?,
        outbox_hard_messages: size(from)?,
        stall: period(from)?,
        clients: size(from)?,
        names_per_client: size(from)?,
        rooms: size(from)?,
        room_members: size(from)?,
        rooms_per_client: size(from)?,
        grace: period(from)?,
        replay_events: size(from)?,
        replay_bytes: size(from)?,
        drain: period(from)?,
    })
}

fn size(from: &mut Reader<'_>) -> Result<usize, Broken> {
    Some(from.small()?).filter(|size| (1..=LARGEST).contains(size)).ok_or(Broken("a limit out of range"))
}

/// No deadline may be due at the moment when it is set.
fn period(from: &mut Reader<'_>) -> Result<Duration, Broken> {
    Some(from.time()?).filter(|time| !time.is_zero()).ok_or(Broken("a limit out of range"))
}
