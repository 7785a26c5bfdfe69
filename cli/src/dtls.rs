//! DTLS as str0m has it, which lets one packet of SCTP pass at a time.
//!
//! str0m asks SCTP for more before each datagram that it hands out, and in sctp-proto 0.10.8 that is a walk over everything
//! in flight: the packets of one long message cost as much as the square of their number. But a packet that DTLS does not
//! take yet is kept by str0m, and tried again before SCTP is asked. So SCTP is asked once for all of them.

use std::sync::Arc;
use std::time::Instant;

use enishi_core::peer::Crypto;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// str0m's cryptography with DTLS that goes by turns.
pub fn crypto() -> Crypto {
    let provider = CryptoProvider { dtls_provider: &ByTurns, ..from_feature_flags() };
    Crypto(Some(Arc::new(provider)))
}

/// Makes [`Turns`].
#[derive(Debug)]
struct ByTurns;

impl DtlsProvider for ByTurns {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = from_feature_flags().dtls_provider.new_dtls(certificate, now, version, mtu)?;
        Ok(Box::new(Turns { inner, leaving: false }))
    }
}

/// One end of a connection.
#[derive(Debug)]
struct Turns {
    inner: Box<dyn DtlsInstance>,
    /// A record was just handed out: str0m has a datagram to send before it asks again.
    leaving: bool,
}

impl DtlsInstance for Turns {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buffer);
        self.leaving = matches!(output, DtlsOutput::Packet(_));
        output
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        if self.leaving { Ok(0) } else { self.inner.send_application_data(data) }
    }

    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
