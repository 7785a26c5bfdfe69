//! Sound of any sample rate, brought to 48 kHz.

use std::collections::VecDeque;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, WindowFunction};

use crate::limits::SAMPLE_RATES;

use super::opus::{FRAME, RATE};
use super::{MediaError, contained};

/// Two channels in any pieces, out in frames of 20 ms.
pub struct Resampler {
    rate: u32,
    /// `None`: it is 48 kHz already.
    inner: Option<Async<f32>>,
    /// Left and right in turn.
    waiting: VecDeque<f32>,
    /// What the filter delays the sound by: so many samples at the start are none.
    leading: usize,
    ready: VecDeque<f32>,
    /// Samples per channel that came in, and that went out.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// From sound of `rate` samples a second and channel.
    ///
    /// # Errors
    /// A rate beyond [`SAMPLE_RATES`].
    pub fn new(rate: u32) -> Result<Self, MediaError> {
        if !SAMPLE_RATES.contains(&rate) {
            let (least, most) = SAMPLE_RATES.into_inner();
            let why = format!("its sample rate is {rate} Hz; rates from {least} to {most} Hz can be played");
            return Err(MediaError::File(why));
        }
        let inner = if rate == RATE {
            None
        } else {
            let parameters = SincInterpolationParameters::new(64, WindowFunction::BlackmanHarris2);
            let ratio = f64::from(RATE) / f64::from(rate);
            let made =
                contained("the resampler", || Async::new_sinc(ratio, 1.0, &parameters, FRAME, 2, FixedAsync::Output))?;
            Some(made.map_err(|error| MediaError::Codec(format!("{rate} Hz cannot be resampled: {error}")))?)
        };
        let leading = inner.as_ref().map_or(0, |inner: &Async<f32>| inner.output_delay());
        let (waiting, ready) = (VecDeque::new(), VecDeque::new());
        Ok(Resampler { rate, inner, waiting, leading, ready, taken: 0, given: 0 })
    }

    /// Takes samples, left and right in turn, each from -1 to 1.
    pub fn push(&mut self, samples: &[f32]) {
        self.taken += samples.len() as u64 / 2;
        self.waiting.extend(samples);
    }

    /// The next 20 ms of both channels at 48 kHz. `None`: it needs more.
    ///
    /// # Errors
    /// The resampler failed.
    pub fn frame(&mut self) -> Result<Option<Vec<i16>>, MediaError> {
        while self.ready.len() < FRAME * 2 {
            if !self.resample()? {
                return Ok(None);
            }
        }
        self.given += FRAME as u64;
        Ok(Some(self.ready.drain(..FRAME * 2).map(to_i16).collect()))
    }

    /// What is left, 20 ms at a time, the last of it with silence after it. `None`: nothing is left; other sound may begin.
    ///
    /// # Errors
    /// The resampler failed.
    pub fn finish(&mut self) -> Result<Option<Vec<i16>>, MediaError> {
        let all = u128::from(self.taken) * u128::from(RATE) / u128::from(self.rate);
        if u128::from(self.given) >= all {
            self.waiting.clear();
            self.ready.clear();
            (self.taken, self.given) = (0, 0);
            return Ok(None);
        }
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(Some(frame));
            }
            self.waiting.extend([0.0; FRAME * 2]);
        }
    }

    /// Resamples one more piece. `false`: too little is waiting.
    fn resample(&mut self) -> Result<bool, MediaError> {
        let Some(inner) = &mut self.inner else {
            let moved = self.waiting.len() / 2 * 2;
            self.ready.extend(self.waiting.drain(..moved));
            return Ok(moved > 0);
        };
        let frames = inner.input_frames_next();
        if self.waiting.len() < frames * 2 {
            return Ok(false);
        }
        let input: Vec<f32> = self.waiting.drain(..frames * 2).collect();
        let mut output = vec![0.0; inner.output_frames_next() * 2];
        let room = inner.output_frames_next();
        let failed = |error: &str| MediaError::Codec(format!("the sound cannot be resampled: {error}"));
        let from = InterleavedSlice::new(&input, 2, frames).map_err(|error| failed(&error.to_string()))?;
        let mut to = InterleavedSlice::new_mut(&mut output, 2, room).map_err(|error| failed(&error.to_string()))?;
        let done = contained("the resampler", || inner.process_into_buffer(&from, &mut to, Some(&Indexing::new())))?;
        let (_, written) = done.map_err(|error| failed(&error.to_string()))?;
        let leading = self.leading.min(written);
        self.leading -= leading;
        self.ready.extend(output.drain(leading * 2..written * 2));
        Ok(true)
    }
}

/// To 16 bits. What is no number is silence.
fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}
