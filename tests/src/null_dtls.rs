//! A stand-in for DTLS that encrypts nothing and is the same every time, for simulations only.
//!
//! The client says HELLO with its certificate until the server has answered with its own. Then records carry the plain
//! text, as much longer as those of DTLS 1.2 are. str0m checks the fingerprints of the certificates as ever. All that is
//! random are certificates, from this thread's `fastrand`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enishi_core::peer::Crypto;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// What a record of DTLS 1.2 with AES-GCM is longer than its content, one byte for the handshake's type aside.
const OVERHEAD: usize = 29;

/// The header of a record: type, version, number, length.
const HEADER: usize = 13;

/// Between two HELLOs that are not answered; as the first timeout of DTLS (RFC 6347, 4.2.4.1).
const REPEAT: Duration = Duration::from_secs(1);

/// As a self-signed one with a P-256 key.
const CERTIFICATE_BYTES: usize = 300;

const ALERT: u8 = 21;
const HELLO: u8 = 22;
const DATA: u8 = 23;
const HELLO_ACK: u8 = 24;

/// str0m's cryptography with this instead of DTLS.
pub fn crypto() -> Crypto {
    let provider = CryptoProvider { dtls_provider: &NullDtls, ..from_feature_flags() };
    Crypto(Some(Arc::new(provider)))
}

/// Makes [`NullInstance`]s.
#[derive(Debug)]
struct NullDtls;

impl DtlsProvider for NullDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        let mut certificate = vec![0; CERTIFICATE_BYTES];
        fastrand::fill(&mut certificate);
        Some(DtlsCert { certificate, private_key: Vec::new() })
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(NullInstance {
            certificate: cert.certificate.clone(),
            active: false,
            now,
            hello_at: None,
            connected: false,
            closed: false,
            sent: 0,
            newest: 0,
            seen: 0,
            steps: VecDeque::new(),
        }))
    }
}

/// One end of a connection.
#[derive(Debug)]
struct NullInstance {
    certificate: Vec<u8>,
    active: bool,
    now: Instant,
    /// When to say HELLO next; `None`: no more.
    hello_at: Option<Instant>,
    connected: bool,
    closed: bool,
    /// The number of the last record sent.
    sent: u64,
    /// The highest number of a record that came, and a bit for it (the lowest) and each of those before it.
    newest: u64,
    seen: u64,
    steps: VecDeque<Step>,
}

/// What comes out.
#[derive(Debug)]
enum Step {
    Packet(Vec<u8>),
    Certificate(Vec<u8>),
    Connected,
    Data(Vec<u8>),
    Close,
}

impl NullInstance {
    fn record(&mut self, kind: u8, content: &[u8]) {
        let mut record = vec![0; OVERHEAD];
        record[..3].copy_from_slice(&[kind, 0xfe, 0xfd]);
        self.sent += 1;
        record[3..11].copy_from_slice(&self.sent.to_be_bytes());
        record[11..13].copy_from_slice(&u16::try_from(content.len() + OVERHEAD - HEADER).unwrap_or(0).to_be_bytes());
        record.extend_from_slice(content);
        self.steps.push_back(Step::Packet(record));
    }

    /// Whether a record comes for the first time, as far as one can say (RFC 6347, 4.1.2.6).
    fn is_new(&mut self, packet: &[u8]) -> bool {
        let Some(number) = packet.get(3..11).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes) else {
            return false;
        };
        let ahead = number.saturating_sub(self.newest);
        self.seen = u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead)).unwrap_or(0);
        self.newest += ahead;
        let bit = 1u64.checked_shl(u32::try_from(self.newest - number).unwrap_or(u32::MAX)).unwrap_or(0);
        let is_new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }

    fn connect(&mut self, certificate: &[u8]) {
        if !self.connected {
            self.connected = true;
            self.hello_at = None;
            self.steps.push_back(Step::Certificate(certificate.to_vec()));
            self.steps.push_back(Step::Connected);
        }
    }

    fn say_hello(&mut self) {
        if self.hello_at.is_some_and(|at| at <= self.now) {
            self.hello_at = Some(self.now + REPEAT);
            let certificate = self.certificate.clone();
            self.record(HELLO, &certificate);
        }
    }
}

impl DtlsInstance for NullInstance {
    fn set_active(&mut self, active: bool) {
        self.active = active;
        self.hello_at = (active && !self.connected).then_some(self.now);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        let (Some(kind), Some(content)) = (packet.first(), packet.get(OVERHEAD..)) else { return Ok(()) };
        match *kind {
            HELLO if !self.active => {
                let certificate = self.certificate.clone();
                self.record(HELLO_ACK, &certificate);
                self.connect(content);
            }
            HELLO_ACK if self.active => self.connect(content),
            // Asked last, for it remembers the packet.
            DATA if self.connected && !self.closed && self.is_new(packet) => {
                self.steps.push_back(Step::Data(content.to_vec()));
            }
            ALERT if self.connected && !self.closed => {
                self.closed = true;
                self.steps.push_back(Step::Close);
            }
            // Of a handshake that is not begun, or data that overtook its end.
            _ => {}
        }
        Ok(())
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.say_hello();
        let mut fill = |bytes: Vec<u8>| {
            buf[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        };
        match self.steps.pop_front() {
            Some(Step::Packet(bytes)) => {
                let len = fill(bytes);
                DtlsOutput::Packet(&buf[..len])
            }
            Some(Step::Certificate(bytes)) => {
                let len = fill(bytes);
                DtlsOutput::PeerCert(&buf[..len])
            }
            Some(Step::Data(bytes)) => {
                let len = fill(bytes);
                DtlsOutput::ApplicationData(&buf[..len])
            }
            Some(Step::Connected) => DtlsOutput::Connected,
            Some(Step::Close) => DtlsOutput::CloseNotify,
            None => DtlsOutput::Timeout(self.hello_at.unwrap_or(self.now + Duration::from_secs(3600))),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        if self.closed {
            return Err(DtlsImplError::ConnectionClosed);
        }
        if !self.connected {
            return Ok(0);
        }
        self.record(DATA, data);
        Ok(data.len())
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.connected.then_some(ProtocolVersion::DTLS1_2)
    }

    fn is_closing(&self) -> bool {
        self.closed
    }

    fn is_closed(&self) -> bool {
        self.closed && self.steps.is_empty()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        if self.connected && !self.closed {
            self.record(ALERT, &[1, 0]);
        }
        self.hello_at = None;
        self.closed = true;
        Ok(())
    }
}
