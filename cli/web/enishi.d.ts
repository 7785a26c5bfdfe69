/** Enishi's client library. Guide and example: docs/browser.md. */

/** What went wrong: `code` is one of docs/protocol.md, or `bad-url`, `protocol`, `refused`, `replaced`, `left`, `no-channel`. */
export class EnishiError extends Error {
  readonly code: string;
}

export interface Options {
  /** The server; by default `/v1` of the page's own host. */
  url?: string;
  /** The wanted id: 1 to 64 of `A-Z a-z 0-9 . _ ~ @ : + -`. Without one the server invents it. */
  id?: string;
  /** For a server that wants one. */
  token?: string;
  /** Negotiate sound and picture from the start, so that `setTrack` never has to. */
  media?: boolean;
  /** In place of those that the server tells. */
  iceServers?: RTCIceServer[];
  /** `relay` hides one's own addresses behind a TURN server. */
  iceTransportPolicy?: RTCIceTransportPolicy;
}

/** Connects and says hello; rejects with an `EnishiError` if the server refuses. While it cannot be reached this goes on trying. */
export function connect(options?: Options): Promise<Client>;

declare class Emitter<Events> {
  /** Calls `listener` whenever `type` happens, until what is returned is called. */
  on<Type extends keyof Events>(type: Type, listener: (detail: Events[Type]) => void): () => void;
}

export interface ClientEvents {
  state: { state: Client["state"]; why: string | null; retryAt: number | null };
  /** A connection with somebody begins, by whichever side. */
  peer: Peer;
  /** Something came through the server. */
  data: { from: string; label: string; data: string | ArrayBuffer };
  /** The server refused something; `to` says for whom it was. */
  error: EnishiError & { to?: string };
}

/** A session with a signaling server. It survives lost connections, sleep and restarts of the server. */
export class Client extends Emitter<ClientEvents> {
  constructor(options?: Options);
  /** Resolves at the first welcome. */
  readonly ready: Promise<Client>;
  readonly id: string | null;
  /** `waiting` is for the next attempt, at `retryAt` (ms since 1970); `closed` is for good, because of `why`. */
  readonly state: "connecting" | "online" | "waiting" | "closed";
  readonly why: string | null;
  readonly retryAt: number | null;
  /** What the server allows: `messageBytes`, `roomMembers`, ... */
  readonly limits: Record<string, number> | null;
  readonly rooms: Map<string, Room>;
  readonly peers: Map<string, Peer>;
  readonly tracks: { audio: MediaStreamTrack | null; video: MediaStreamTrack | null };
  /** Enters a room and connects to everybody in it, now and after every reconnection. */
  join(room: string): Promise<Room>;
  /** The connection with somebody, in a room or not; begins one if there is none. */
  peer(id: string): Peer;
  /** Sends a text through the server. */
  relay(to: string, text: string, label?: string): void;
  /** What everybody gets from now on, also those who come later: a track, or `null`. */
  setTrack(kind: "audio" | "video", track: MediaStreamTrack | null): Promise<void>;
  /** Tries at once instead of waiting for `retryAt`; also after `closed`. */
  retry(): void;
  /** Says goodbye and closes everything; fit for `pagehide`. */
  close(): void;
}

export interface RoomEvents {
  joined: { id: string; peer: Peer };
  left: { id: string; why: "left" | "gone" | "slow" };
  /** Who is there, after entering and after something was missed. */
  roster: string[];
}

export class Room extends Emitter<RoomEvents> {
  readonly name: string;
  /** Everybody else's ids. */
  readonly members: Set<string>;
  readonly peers: Peer[];
  /** Sends a text to everybody, as `Peer.send` does. */
  send(text: string, label?: string): void;
  leave(): void;
}

export interface PeerEvents {
  state: { state: Peer["state"]; why: string | null; path: Peer["path"]; message: string | null };
  /** A message on any channel, or relayed by the server. */
  message: { label: string; data: string | ArrayBuffer; relayed: boolean };
  /** The other side opened a channel. */
  channel: RTCDataChannel;
  /** A channel of either side can be used. */
  open: RTCDataChannel;
  track: RTCTrackEvent;
  trackended: MediaStreamTrack;
  /** Something was skipped that is seldom of interest. */
  warning: unknown;
}

/** A WebRTC connection. Offers that cross, lost signals and lost paths are taken care of. */
export class Peer extends Emitter<PeerEvents> {
  readonly id: string;
  readonly state: "connecting" | "connected" | "reconnecting" | "failed" | "closed";
  /** Of `failed`: `no-path`, `hung-up` or `refused`; of `closed`: `left`, `gone`, `slow` or `closed`. */
  readonly why: string | null;
  readonly path: "direct" | "relayed" | null;
  readonly polite: boolean;
  readonly connection: RTCPeerConnection | null;
  readonly channels: RTCDataChannel[];
  readonly tracks: RTCTrackEvent[];
  /** The open channel of this label; for `chat` any whose label does not begin with `enishi.`. */
  channel(label?: string): RTCDataChannel | undefined;
  /** Sends on that channel, and a text through the server as long as there is none. Whether it went directly. */
  send(data: string | ArrayBuffer | ArrayBufferView, label?: string): boolean;
  /** Opens a further channel. Labels that begin with `enishi.` are the page's own. */
  open(label: string, options?: RTCDataChannelInit): RTCDataChannel;
  stats(): Promise<PeerStats>;
  /** Starts over after `failed`. */
  retry(): void;
  close(): void;
}

/** Totals since the connection began; times in ms. */
export interface PeerStats {
  rtt: number | null;
  bytesSent: number;
  bytesReceived: number;
  /** Packets of sound and picture that did not come, and that came. */
  lost: number;
  packets: number;
  fps: number | null;
  width: number | null;
  height: number | null;
  /** Candidate types of the path: `host`, `srflx`, `prflx`, `relay`. */
  local: string | null;
  remote: string | null;
  protocol: string | null;
}
