//! Moving pictures that can be recognised at the other end.
//!
//! Each is a function of the time and looks the same at every size. They repeat after [`LOOP`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::MediaError;
use super::vp8::Picture;

/// After which each pattern begins again.
pub const LOOP: Duration = Duration::from_secs(2);

/// How often a second gradient and bounce move. Each time costs an encoder about as much as key frames do, and pictures
/// that stay cost nothing.
const GRADIENT_STEPS: usize = 5;
const BOUNCE_STEPS: usize = 10;

/// From one flash to the next.
pub const FLASH: Duration = LOOP;

/// Luma of white and of black (ITU-R BT.601, limited range).
pub(super) const WHITE: u8 = 235;
pub(super) const BLACK: u8 = 16;
/// Chroma of all that has no colour.
const GREY: u8 = 128;

/// Squares of the checkerboard, across and down.
pub(super) const SQUARES: (usize, usize) = (8, 6);

/// Red, yellow, green, cyan, blue and magenta at 75 %, as in SMPTE colour bars: Y, Cb, Cr.
pub(super) const COLORS: [[u8; 3]; 6] =
    [[65, 100, 212], [162, 44, 142], [112, 72, 58], [131, 156, 44], [35, 212, 114], [84, 184, 198]];

/// A moving picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// From black on the left to white, moving to the right once a loop, five steps a second.
    Gradient,
    /// 8 x 6 black and white squares that change places every half second; the one at the top left begins white.
    Checkerboard,
    /// A white square on dark blue, a quarter as high as the picture, that bounces off the four sides, ten
    /// steps a second.
    Bounce,
    /// One colour all over: red, yellow, green, cyan, blue, magenta, a third of a second each.
    Color,
    /// White for a second and black for a second, as conic's video; [`super::SourceSpec::Beep`] is its sound.
    Flash,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 5] =
        [Pattern::Gradient, Pattern::Checkerboard, Pattern::Bounce, Pattern::Color, Pattern::Flash];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Gradient => "gradient",
            Pattern::Checkerboard => "checkerboard",
            Pattern::Bounce => "bounce",
            Pattern::Color => "color",
            Pattern::Flash => "flash",
        }
    }

    /// How it looks at a time since its start.
    pub fn draw(self, time: Duration, width: u16, height: u16) -> Picture {
        let phase = (time.as_nanos() % LOOP.as_nanos()) as f64 / LOOP.as_nanos() as f64;
        let stepped = |steps: usize| {
            let steps = steps * LOOP.as_secs() as usize;
            part(phase, steps) as f64 / steps as f64
        };
        let mut picture = Picture::new(width, height, [BLACK, GREY, GREY]);
        match self {
            Pattern::Gradient => gradient(&mut picture, stepped(GRADIENT_STEPS)),
            Pattern::Checkerboard => checkerboard(&mut picture, part(phase, 4).is_multiple_of(2)),
            Pattern::Bounce => bounce(&mut picture, stepped(BOUNCE_STEPS)),
            Pattern::Color => picture.fill(COLORS[part(phase, COLORS.len())]),
            Pattern::Flash if part(phase, 2) == 0 => picture.fill([WHITE, GREY, GREY]),
            Pattern::Flash => {}
        }
        picture
    }

    /// Whether frame `number` of so many a second is better a key frame: one where the picture changes as a whole, and
    /// one every second.
    pub fn begins(self, number: u64, rate: u64) -> bool {
        let (_, place, _) = self.place(number, rate);
        place == 0
    }

    /// In which part of the loop frame `number` of so many a second is, at which place in there, and of how many. Each
    /// part begins with a key frame.
    pub(super) fn place(self, number: u64, rate: u64) -> (u64, u64, u64) {
        let parts = match self {
            Pattern::Gradient | Pattern::Bounce | Pattern::Flash => 2,
            Pattern::Checkerboard => 4,
            Pattern::Color => COLORS.len() as u64,
        };
        let in_loop = rate.max(1) * LOOP.as_secs();
        let number = number % in_loop;
        let part = number * parts / in_loop;
        let begin = |part: u64| (part * in_loop).div_ceil(parts);
        (part, number - begin(part), begin(part + 1) - begin(part))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pattern {
    type Err = MediaError;

    fn from_str(name: &str) -> Result<Self, MediaError> {
        Pattern::ALL.into_iter().find(|pattern| pattern.name() == name).ok_or_else(|| {
            let known = Pattern::ALL.map(Pattern::name).join(", ");
            MediaError::Spec(format!("no pattern is called '{}'; there are {known}", name.escape_debug()))
        })
    }
}

/// Which of so many equal parts of the loop it is.
fn part(phase: f64, parts: usize) -> usize {
    // A frame at the very beginning of a part may be a rounding error before it.
    ((phase * parts as f64 + 1e-6) as usize) % parts
}

fn gradient(picture: &mut Picture, phase: f64) {
    let width = usize::from(picture.width);
    let moved = (phase * width as f64) as usize;
    let row: Vec<u8> = (0..width)
        .map(|x| BLACK + ((x + width - moved) % width * usize::from(WHITE - BLACK) / width.max(1)) as u8)
        .collect();
    picture.y.chunks_exact_mut(width).for_each(|line| line.copy_from_slice(&row));
}

fn checkerboard(picture: &mut Picture, white_first: bool) {
    let (width, height) = (usize::from(picture.width), usize::from(picture.height));
    for (y, line) in picture.y.chunks_exact_mut(width).enumerate() {
        let row = y * SQUARES.1 / height;
        for (x, pixel) in line.iter_mut().enumerate() {
            let white = (x * SQUARES.0 / width + row).is_multiple_of(2) == white_first;
            *pixel = if white { WHITE } else { BLACK };
        }
    }
}

fn bounce(picture: &mut Picture, phase: f64) {
    let (width, height) = (usize::from(picture.width), usize::from(picture.height));
    picture.fill([40, 160, 110]);
    let side = (height / 4).min(width).max(1);
    // There and back: across once a loop, down twice.
    let swing = |turns: f64| 1.0 - (phase * turns % 1.0 * 2.0 - 1.0).abs();
    // On even pixels, where the chroma is.
    let at = |room: usize, turns: f64| (room as f64 * swing(turns)) as usize / 2 * 2;
    let (left, top) = (at(width - side, 1.0), at(height - side, 2.0));
    paint(&mut picture.y, width, [left, top, side, side], WHITE);
    let (chroma_width, [left, top, side]) = (width.div_ceil(2), [left / 2, top / 2, side.div_ceil(2)]);
    for plane in [&mut picture.u, &mut picture.v] {
        paint(plane, chroma_width, [left, top, side, side], GREY);
    }
}

/// Fills a box of a plane: left, top, width, height.
fn paint(plane: &mut [u8], stride: usize, [left, top, width, height]: [usize; 4], value: u8) {
    for line in plane.chunks_exact_mut(stride).skip(top).take(height) {
        line.iter_mut().skip(left).take(width).for_each(|pixel| *pixel = value);
    }
}
