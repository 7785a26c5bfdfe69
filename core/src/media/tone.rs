//! Tones: sound that can be recognised at the other end.

use std::f64::consts::TAU;

use super::MediaError;
use super::pattern::FLASH;

/// The tone of conic's demo, in Hz.
pub const HZ: u32 = 440;

/// The tone of a beep, in Hz.
pub const BEEP_HZ: u32 = 1_000;

/// How long a beep is, in samples at 48 kHz: 200 ms.
const BEEP_SAMPLES: u64 = 9_600;

/// The amplitude of all of them (`protocols.md` 000.5).
const AMPLITUDE: f64 = 0.3 * 32_767.0;

/// Whether there is such a tone at `rate` samples a second.
///
/// # Errors
/// There is no such tone: 0 Hz, a rate of 0, or more than half of the rate.
pub fn check(hz: u32, rate: u32) -> Result<(), MediaError> {
    if rate == 0 {
        return Err(MediaError::Spec("a sample rate of 0 Hz holds no sound, try 48000".into()));
    }
    if hz == 0 {
        return Err(MediaError::Spec("a tone of 0 Hz is silence, try 440".into()));
    }
    if hz > rate / 2 {
        let most = rate / 2;
        return Err(MediaError::Spec(format!(
            "a tone of {hz} Hz does not fit a rate of {rate} Hz, at most {most} Hz do"
        )));
    }
    Ok(())
}

/// Sample number `index` of a tone, truncated as conic does.
pub fn sample(hz: u32, rate: u32, index: u64) -> i16 {
    // Whole periods are left out: a long tone would lose precision.
    let phase = (u128::from(index) * u128::from(hz) % u128::from(rate.max(1))) as f64 / f64::from(rate.max(1));
    (AMPLITUDE * (TAU * phase).sin()) as i16
}

/// Sample number `index`, at 48 kHz, of a tone that sounds when [`super::Pattern::Flash`] turns white.
pub fn beep(index: u64) -> i16 {
    let since = index % (FLASH.as_millis() as u64 * 48);
    if since < BEEP_SAMPLES { sample(BEEP_HZ, 48_000, since) } else { 0 }
}
