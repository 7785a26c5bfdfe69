//! What sound and pictures are: recognised after a trip through codecs and networks.

use realfft::RealFftPlanner;

use super::pattern::{BLACK, COLORS, Pattern, SQUARES, WHITE};
use super::vp8::Picture;

/// The most samples that are looked at, a power of two: 1.4 s at 48 kHz.
const LONGEST: usize = 65_536;

/// Fewer than these tell no tone.
const SHORTEST: usize = 256;

/// Sound that is quieter than this all over is silence, of 32768.
const SILENCE: i16 = 64;

/// How far a luma or chroma may be from what it should be, for a codec's sake.
const NEAR: u8 = 24;

/// The strongest frequency in the last samples of one channel, in Hz; to within 1 Hz given a second of sound. `None`:
/// silence, or too little.
pub fn peak_hz(samples: &[i16], rate: u32) -> Option<f64> {
    let length = samples.len().min(LONGEST);
    let samples = samples.get(samples.len() - length..)?;
    if length < SHORTEST || samples.iter().all(|sample| sample.unsigned_abs() < SILENCE.unsigned_abs()) {
        return None;
    }
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(length);
    let turn = std::f32::consts::TAU / length as f32;
    // A Hann window: what does not fit the length stays near its place.
    let window = |at: usize| 0.5 - 0.5 * (turn * at as f32).cos();
    let mut input: Vec<f32> = samples.iter().enumerate().map(|(at, sample)| f32::from(*sample) * window(at)).collect();
    let mut spectrum = fft.make_output_vec();
    fft.process(&mut input, &mut spectrum).ok()?;
    let power: Vec<f32> = spectrum.iter().map(|bin| bin.norm_sqr()).collect();
    // Without the constant part and what the window makes of it.
    let peak = (2..power.len()).max_by(|left, right| power[*left].total_cmp(&power[*right]))?;
    Some((peak as f64 + between(&power, peak)) * f64::from(rate) / length as f64)
}

/// Where between its neighbours a peak is, from -0.5 to 0.5: the top of a parabola through the logarithms.
fn between(power: &[f32], peak: usize) -> f64 {
    let log = |at: usize| power.get(at).map(|power| f64::from(power.max(f32::MIN_POSITIVE)).ln());
    let (Some(left), Some(top), Some(right)) = (log(peak - 1), log(peak), log(peak + 1)) else { return 0.0 };
    let curve = left - 2.0 * top + right;
    if curve < 0.0 { ((left - right) / (2.0 * curve)).clamp(-0.5, 0.5) } else { 0.0 }
}

/// The mean luma of a picture: 16 is black, 235 is white.
pub fn brightness(picture: &Picture) -> u8 {
    mean(picture.y.iter().copied())
}

/// Whether [`Pattern::Flash`] is white in this picture; black otherwise.
pub fn is_bright(picture: &Picture) -> bool {
    brightness(picture) > (WHITE - BLACK) / 2 + BLACK
}

/// Which pattern a picture is of. `None`: none of them, or it cannot be told.
pub fn pattern(picture: &Picture) -> Option<Pattern> {
    let grid = Grid::new(picture)?;
    Pattern::ALL.into_iter().find(|pattern| match pattern {
        Pattern::Flash => grid.is_all(|[y, u, v]| (near(y, WHITE) || near(y, BLACK)) && near(u, 128) && near(v, 128)),
        Pattern::Color => COLORS.iter().any(|color| grid.is_all(|cell| (0..3).all(|at| near(cell[at], color[at])))),
        Pattern::Checkerboard => [0, 1].into_iter().any(|odd| {
            grid.cells.iter().enumerate().all(|(at, [y, ..])| {
                let white = (at % SQUARES.0 + at / SQUARES.0) % 2 == odd;
                near(*y, if white { WHITE } else { BLACK })
            })
        }),
        Pattern::Gradient => grid.is_gradient(),
        Pattern::Bounce => grid.is_bounce(),
    })
}

/// The mean colours of 8 x 6 parts of a picture, without their edges.
struct Grid {
    cells: Vec<[u8; 3]>,
}

impl Grid {
    fn new(picture: &Picture) -> Option<Grid> {
        let (width, height) = (usize::from(picture.width), usize::from(picture.height));
        let chroma_width = width.div_ceil(2);
        if width < SQUARES.0 * 4 || height < SQUARES.1 * 4 {
            return None;
        }
        let cell = |at: usize| {
            let (across, down) = (at % SQUARES.0, at / SQUARES.0);
            // The middle half of the part.
            let part = |place: usize, of: usize, whole: usize| {
                let (begin, size) = (place * whole / of, whole / of);
                begin + size / 4..begin + size - size / 4
            };
            let plane = |plane: &[u8], stride: usize, lines: usize| {
                let columns = part(across, SQUARES.0, stride);
                let rows = part(down, SQUARES.1, lines).filter_map(|row| plane.get(row * stride..(row + 1) * stride));
                mean(rows.filter_map(|row| row.get(columns.clone())).flatten().copied())
            };
            let chroma_height = height.div_ceil(2);
            [
                plane(&picture.y, width, height),
                plane(&picture.u, chroma_width, chroma_height),
                plane(&picture.v, chroma_width, chroma_height),
            ]
        };
        Some(Grid { cells: (0..SQUARES.0 * SQUARES.1).map(cell).collect() })
    }

    fn is_all(&self, is: impl Fn([u8; 3]) -> bool) -> bool {
        self.cells.iter().all(|cell| is(*cell))
    }

    /// All rows alike, and brighter from left to right but for one place.
    fn is_gradient(&self) -> bool {
        let Some(first) = self.cells.get(..SQUARES.0) else { return false };
        let alike =
            self.cells.chunks(SQUARES.0).all(|row| row.iter().zip(first).all(|(cell, of)| near(cell[0], of[0])));
        // An eighth of the way from black to white each, more or less.
        let rises = |pair: &&[[u8; 3]]| pair[1][0] > pair[0][0] && (14..=41).contains(&(pair[1][0] - pair[0][0]));
        let rising = first.windows(2).filter(rises).count();
        alike && rising >= SQUARES.0 - 3
    }

    /// Dark blue, but for a few parts together that are bright.
    fn is_bounce(&self) -> bool {
        let dark = |cell: &[u8; 3]| near(cell[0], 40) && near(cell[1], 160) && near(cell[2], 110);
        let bright = self.cells.iter().filter(|cell| near(cell[0], WHITE)).count();
        let rest = self.cells.iter().filter(|cell| !dark(cell)).count();
        (1..=4).contains(&bright) && rest <= 9
    }
}

fn near(value: u8, wanted: u8) -> bool {
    value.abs_diff(wanted) <= NEAR
}

fn mean(values: impl Iterator<Item = u8>) -> u8 {
    let (sum, count) = values.fold((0_u64, 0_u64), |(sum, count), value| (sum + u64::from(value), count + 1));
    sum.checked_div(count).unwrap_or_default() as u8
}
