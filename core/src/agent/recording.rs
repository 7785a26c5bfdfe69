//! Recordings: what remote peers send, and what we send if that is wanted, written to files.
//!
//! A peer's sound and picture go into one file as far as its kind of container has room for both. A file is begun when
//! the peer's tracks have come, since its head names them; a track that comes later ends it and begins another. So does
//! a second track of a kind, which gets a file of its own.
//!
//! ```text
//!  frame ──▶ jitter buffer ──▶ timeline ──▶ container ──▶ sink ──▶ WriteFile, one under way per file
//!            (recording/take)  (…/timeline) (media)       (…/sink)
//! ```
//!
//! A file that cannot be written ends the recording, never the call. A disk that is too slow costs frames, which are
//! counted.

mod names;
mod sink;
mod take;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::agent::AgentNotice;
use crate::agent::recording::names::Naming;
use crate::agent::recording::sink::Desk;
use crate::agent::recording::take::{Take, Taken};
use crate::clock::WallClock;
use crate::limits;
use crate::machine::{FileError, FileOp, WriteAt};
use crate::media::{Container, EncodedFrame, Kind};
use crate::peer::TrackKey;
use crate::signal::Name;

/// What is to be recorded, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSpec {
    /// A file whose name ends in `.webm`, `.ogg`, `.opus`, `.wav` or `.ivf`, or else a folder that exists.
    ///
    /// In a folder, each peer has files of its own, `alice-20261121T032731Z.webm`: a part of its id, and when the file
    /// was begun, in UTC. A named file takes the first peer that sends something, the next ones go to `x-2.webm`,
    /// `x-3.webm` and so on; ours to `x-ours.webm`. No file that exists is touched: the next number is taken.
    pub path: String,
    /// Whether what we send is recorded too.
    pub ours_too: bool,
}

/// What becomes of a recording. `id` is who is recorded; `None`: we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingNotice {
    /// A file was begun.
    Begun {
        /// Its name.
        path: String,
        /// Who.
        id: Option<Name>,
    },
    /// The disk has all of a file.
    Complete {
        /// Its name.
        path: String,
        /// Who.
        id: Option<Name>,
        /// From its start to its last frame.
        length: Duration,
        /// Frames that the disk was too slow for.
        dropped: u64,
    },
    /// A file cannot be written, so the recording has ended. What was written before is there.
    Failed {
        /// Its name.
        path: String,
        /// Who.
        id: Option<Name>,
        /// A clause for a person.
        why: String,
    },
}

/// What the recorder wants done or tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RecorderEffect {
    /// Write to a file; answered by [`Recorder::file_written`]. The number of its op is odd.
    Write { op: FileOp, path: String, at: WriteAt, bytes: Bytes },
    /// Ask a remote for a key frame; without a name, our own source of pictures.
    WantKeyFrame { name: Option<Name>, track: TrackKey },
    /// Tell the embedding program.
    Notice(AgentNotice),
}

/// A frame that arrived, or that we send.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) frame: EncodedFrame,
    /// Whether something is missing before it.
    pub(super) lost: bool,
    /// When it came, or was due to be sent.
    pub(super) arrived: Instant,
    /// When it was sampled, on the sender's clock, if that is known.
    pub(super) sampled: Option<Duration>,
}

/// Who is recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Ours,
    Peer(Name),
}

/// All recordings of an agent.
#[derive(Debug)]
pub(super) struct Recorder {
    clock: WallClock,
    /// From when its clock counts.
    epoch: Instant,
    /// Our own id.
    me: Option<Name>,
    /// The recording that goes on.
    session: Option<Session>,
    sessions: u64,
    /// Tracks that there are, recorded or not.
    tracks: BTreeMap<(Who, TrackKey), Kind>,
    /// Files being recorded, and those of which the disk does not have everything yet.
    takes: Vec<Take>,
    desk: Desk,
}

/// A recording.
#[derive(Debug)]
struct Session {
    number: u64,
    spec: RecordSpec,
    container: Container,
    is_folder: bool,
    /// Whether anything was recorded.
    has_frames: bool,
    /// Files begun so far.
    files: usize,
    /// Whether it was told that there can be no more of them.
    is_full: bool,
}

impl Recorder {
    /// Records nothing yet.
    pub(super) fn new(now: Instant, clock: WallClock) -> Self {
        Recorder {
            clock,
            epoch: now,
            me: None,
            session: None,
            sessions: 0,
            tracks: BTreeMap::new(),
            takes: Vec::new(),
            desk: Desk::default(),
        }
    }

    /// We are called so.
    pub(super) fn named(&mut self, me: Name) {
        self.me = Some(me);
    }

    /// Begins a recording.
    pub(super) fn start(&mut self, spec: RecordSpec, out: &mut Vec<RecorderEffect>) {
        if let Some(Session { spec, .. }) = &self.session {
            let why = format!("there is a recording already, to {}; stop it first with `record stop`", spec.path);
            return out.push(RecorderEffect::Notice(AgentNotice::CommandFailed(why)));
        }
        self.sessions += 1;
        let container = Container::of(&spec.path);
        self.session = Some(Session {
            number: self.sessions,
            is_folder: container.is_none(),
            container: container.unwrap_or(Container::WebM),
            spec,
            has_frames: false,
            files: 0,
            is_full: false,
        });
        for ((who, track), kind) in &self.tracks {
            want_key_frame(who, *track, *kind, out);
        }
    }

    /// Ends the recording.
    pub(super) fn stop(&mut self, now: Instant, out: &mut Vec<RecorderEffect>) {
        let Some(session) = self.session.take() else {
            let why = "nothing is being recorded; begin with `record start PATH`".to_owned();
            return out.push(RecorderEffect::Notice(AgentNotice::CommandFailed(why)));
        };
        if !session.has_frames {
            let what = match session.container {
                Container::WebM => "sound or picture",
                Container::Ogg | Container::Wav => "sound",
                Container::Ivf => "picture",
            };
            let why = format!("nothing was recorded to {}: no {what} came", session.spec.path);
            out.push(RecorderEffect::Notice(AgentNotice::Warning(why)));
        }
        self.end_all(now, session.number, out);
        self.settle(out);
    }

    /// Ends the recording if there is one.
    pub(super) fn finish(&mut self, now: Instant, out: &mut Vec<RecorderEffect>) {
        if self.session.is_some() {
            self.stop(now, out);
        }
    }

    /// Whether the disk does not have everything yet.
    pub(super) fn is_busy(&self) -> bool {
        !self.takes.is_empty()
    }

    /// A remote peer publishes a track.
    pub(super) fn track_added(&mut self, name: &Name, track: TrackKey, kind: Kind, out: &mut Vec<RecorderEffect>) {
        let who = Who::Peer(name.clone());
        if self.session.is_some() {
            want_key_frame(&who, track, kind, out);
        }
        self.tracks.insert((who, track), kind);
    }

    /// A remote peer does not publish it any more.
    pub(super) fn track_removed(&mut self, now: Instant, name: &Name, track: TrackKey, out: &mut Vec<RecorderEffect>) {
        self.removed(now, Who::Peer(name.clone()), track, out);
    }

    /// A frame of a remote peer.
    pub(super) fn frame(
        &mut self,
        now: Instant,
        name: &Name,
        track: TrackKey,
        arrival: Arrival,
        out: &mut Vec<RecorderEffect>,
    ) {
        if self.session.is_some() {
            self.arrive(now, Who::Peer(name.clone()), track, arrival, out);
        }
    }

    /// A frame that we publish, which was due at `due`.
    pub(super) fn own_frame(
        &mut self,
        now: Instant,
        frame: &EncodedFrame,
        due: Instant,
        out: &mut Vec<RecorderEffect>,
    ) {
        if self.session.as_ref().is_some_and(|session| session.spec.ours_too) {
            let kind = if frame.codec == Kind::Audio.codec() { Kind::Audio } else { Kind::Video };
            self.tracks.insert((Who::Ours, own_track(kind)), kind);
            let arrival = Arrival { frame: frame.clone(), lost: false, arrived: due, sampled: None };
            self.arrive(now, Who::Ours, own_track(kind), arrival, out);
        }
    }

    /// We do not publish this any more.
    pub(super) fn own_ended(&mut self, now: Instant, kind: Kind, out: &mut Vec<RecorderEffect>) {
        self.removed(now, Who::Ours, own_track(kind), out);
    }

    /// A [`RecorderEffect::Write`] is done.
    pub(super) fn file_written(
        &mut self,
        now: Instant,
        op: FileOp,
        result: Result<(), FileError>,
        out: &mut Vec<RecorderEffect>,
    ) {
        let mut failed = None;
        for (position, take) in self.takes.iter_mut().enumerate() {
            match take.sink.written(op, result.clone(), &mut self.desk, out) {
                Ok(true) => {
                    let (path, id) = (take.sink.path(), take.who.name().cloned());
                    out.push(notice(RecordingNotice::Begun { path, id }));
                }
                Ok(false) => {}
                Err(why) => failed = Some((position, why)),
            }
        }
        if let Some((position, why)) = failed {
            self.fail(now, position, &why, out);
        }
        self.settle(out);
    }

    /// What is due.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<RecorderEffect>) {
        if self.next_timeout().is_none_or(|(at, _)| at > now) {
            return;
        }
        self.roll(now, out);
        self.settle(out);
    }

    /// When something is due.
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.takes.iter().filter_map(Take::next_timeout).min().map(|at| (at, "a recording"))
    }

    fn arrive(&mut self, now: Instant, who: Who, track: TrackKey, arrival: Arrival, out: &mut Vec<RecorderEffect>) {
        let Some(kind) = self.tracks.get(&(who.clone(), track)).copied() else { return };
        let is_key = arrival.frame.key || kind == Kind::Audio;
        let Some(position) = self.take_for(now, &who, track, kind, is_key, out) else {
            if !is_key {
                want_key_frame(&who, track, kind, out);
            }
            return;
        };
        let Some(take) = self.takes.get_mut(position) else { return };
        if take.frame(now, track, arrival) == Taken::NeedsKeyFrame {
            want_key_frame(&who, track, kind, out);
        }
        self.roll(now, out);
        self.settle(out);
    }

    /// Where in the list the file is that a track is recorded to. A picture gets into one only with a key frame.
    fn take_for(
        &mut self,
        now: Instant,
        who: &Who,
        track: TrackKey,
        kind: Kind,
        is_key: bool,
        out: &mut Vec<RecorderEffect>,
    ) -> Option<usize> {
        let session = self.session.as_mut().filter(|session| session.container.holds(kind))?;
        let is_theirs = |take: &Take| take.who == *who && take.session == session.number;
        if let Some(position) = self.takes.iter().position(|take| is_theirs(take) && take.has(track)) {
            return Some(position);
        }
        if !is_key {
            return None;
        }
        session.has_frames = true;
        if let Some(position) = self.takes.iter().position(|take| is_theirs(take) && take.has_room(kind)) {
            self.takes[position].join(track, kind);
            return Some(position);
        }
        // The head of a file is made once: a track that comes later ends it and begins another, with all in it.
        let mut tracks = vec![(track, kind)];
        let late = self.takes.iter().position(|take| is_theirs(take) && take.came_too_late(kind));
        if let Some(position) = late {
            tracks.extend(self.takes[position].tracks());
        } else {
            let others = self.tracks.range((who.clone(), TrackKey(0))..).take_while(|((whose, _), _)| whose == who);
            let free =
                others.filter(|((_, other), _)| !self.takes.iter().any(|take| is_theirs(take) && take.has(*other)));
            tracks.extend(free.map(|((_, other), kind)| (*other, *kind)));
        }
        if self.takes.len() >= limits::RECORDINGS {
            return None;
        }
        if session.files >= limits::RECORDED_FILES {
            if !session.is_full {
                session.is_full = true;
                let files = session.files;
                let why = format!("the recording has {files} files and begins no more; stop it, and start another one");
                out.push(RecorderEffect::Notice(AgentNotice::Warning(why)));
            }
            return None;
        }
        session.files += 1;
        let naming = match who {
            Who::Peer(_) if !session.is_folder => Naming::file(&session.spec.path, ""),
            Who::Ours if !session.is_folder => Naming::file(&session.spec.path, "-ours"),
            who => {
                let id = who.name().or(self.me.as_ref()).map_or("ours", Name::as_str);
                Naming::in_folder(&session.spec.path, id, self.clock.unix(now), session.container)
            }
        };
        let mut take = Take::new(now, self.epoch, who.clone(), session.number, session.container, naming);
        for (other, kind) in tracks {
            if take.has_room(kind) && !take.has(other) {
                take.join(other, kind);
                if other != track {
                    want_key_frame(who, other, kind, out);
                }
            }
        }
        self.takes.push(take);
        if let Some(position) = late {
            self.end(now, position, out);
        }
        Some(self.takes.len() - 1)
    }

    fn removed(&mut self, now: Instant, who: Who, track: TrackKey, out: &mut Vec<RecorderEffect>) {
        for position in 0..self.takes.len() {
            let take = &mut self.takes[position];
            if take.who == who && take.has(track) {
                match take.leave(now, track) {
                    Err(error) => self.fail(now, position, &error.to_string(), out),
                    Ok(()) if take.is_deserted() => self.end(now, position, out),
                    Ok(()) => {}
                }
            }
        }
        self.tracks.remove(&(who, track));
        self.settle(out);
    }

    /// Lets frames go on to the disk.
    fn roll(&mut self, now: Instant, out: &mut Vec<RecorderEffect>) {
        for position in 0..self.takes.len() {
            let take = &mut self.takes[position];
            match take.roll(now, false) {
                Ok(()) => take.flush(now),
                Err(error) => self.fail(now, position, &error.to_string(), out),
            }
        }
        self.write(now, out);
    }

    fn write(&mut self, now: Instant, out: &mut Vec<RecorderEffect>) {
        for position in 0..self.takes.len() {
            if let Err(why) = self.takes[position].sink.write(&mut self.desk, out) {
                self.fail(now, position, &why, out);
            }
        }
    }

    fn end(&mut self, now: Instant, position: usize, out: &mut Vec<RecorderEffect>) {
        if let Err(error) = self.takes[position].end(now) {
            self.fail(now, position, &error.to_string(), out);
        }
        self.write(now, out);
    }

    fn end_all(&mut self, now: Instant, session: u64, out: &mut Vec<RecorderEffect>) {
        for position in 0..self.takes.len() {
            if self.takes[position].session == session && !self.takes[position].is_ending() {
                self.end(now, position, out);
            }
        }
    }

    /// A file cannot be written: it is given up, and the recording that it is of ends.
    fn fail(&mut self, now: Instant, position: usize, why: &str, out: &mut Vec<RecorderEffect>) {
        let take = &mut self.takes[position];
        if take.is_failed {
            return;
        }
        let (session, path, id) = (take.session, take.sink.path(), take.who.name().cloned());
        take.give_up();
        if self.session.take_if(|current| current.number == session).is_some() {
            out.push(notice(RecordingNotice::Failed { path, id, why: why.to_owned() }));
        } else {
            // Of the same recording, whose end was told, or of an earlier one.
            let what = format!("the recording {path} is not complete: {why}");
            out.push(RecorderEffect::Notice(AgentNotice::Warning(what)));
        }
        self.end_all(now, session, out);
    }

    /// Forgets files of which the disk has everything.
    fn settle(&mut self, out: &mut Vec<RecorderEffect>) {
        let desk = &mut self.desk;
        self.takes.retain(|take| {
            let is_done = take.is_ending() && take.sink.is_idle();
            if is_done {
                take.sink.release(desk);
                if take.sink.is_created() && !take.is_failed {
                    let summary = take.summary();
                    out.push(notice(RecordingNotice::Complete {
                        path: take.sink.path(),
                        id: take.who.name().cloned(),
                        length: summary.length,
                        dropped: summary.dropped,
                    }));
                }
            }
            !is_done
        });
    }
}

impl Who {
    /// The id of a remote peer.
    fn name(&self) -> Option<&Name> {
        match self {
            Who::Ours => None,
            Who::Peer(name) => Some(name),
        }
    }
}

fn notice(notice: RecordingNotice) -> RecorderEffect {
    RecorderEffect::Notice(AgentNotice::Recording(notice))
}

/// What stands for a track of ours.
fn own_track(kind: Kind) -> TrackKey {
    TrackKey(u32::from(kind == Kind::Video))
}

/// Asks for a picture from which decoding can begin.
fn want_key_frame(who: &Who, track: TrackKey, kind: Kind, out: &mut Vec<RecorderEffect>) {
    if kind == Kind::Video {
        out.push(RecorderEffect::WantKeyFrame { name: who.name().cloned(), track });
    }
}
