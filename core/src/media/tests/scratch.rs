use super::*;
use std::time::Instant;

#[test]
fn scratch() {
    let dir = std::env::var("SCRATCH").unwrap_or("/tmp/scratch".into());
    std::fs::create_dir_all(&dir).unwrap();
    let audio = frames("tone", 4000);
    let beep = frames("beep", 6000);
    println!("tone {} bytes a packet", audio.iter().map(|f| f.data.len()).sum::<usize>() / audio.len());
    std::fs::write(
        format!("{dir}/a.ogg"),
        mux(Container::Ogg, &[Kind::Audio], &audio.iter().map(|f| (0, f.clone())).collect::<Vec<_>>()),
    )
    .unwrap();
    std::fs::write(
        format!("{dir}/a.wav"),
        mux(Container::Wav, &[Kind::Audio], &audio.iter().map(|f| (0, f.clone())).collect::<Vec<_>>()),
    )
    .unwrap();
    for p in super::super::Pattern::ALL {
        let mut s = Source::new(&SourceSpec::Pattern(p), Kind::Video, true).unwrap();
        for q in [super::super::Quality::High, super::super::Quality::Medium, super::super::Quality::Low] {
            s.set_quality(q);
            let (mut worst, mut all, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
            let mut n = 0;
            let mut out = vec![];
            let mut base = None;
            while n < if q == super::super::Quality::Low { 30 } else { 60 } {
                let t = Instant::now();
                let Next::Frame(f) = s.next().unwrap() else { panic!() };
                let d = t.elapsed();
                worst = worst.max(d);
                all += d;
                n += 1;
                bytes += f.data.len();
                let b = *base.get_or_insert(f.time);
                out.push((0, EncodedFrame { time: f.time - b, ..f }));
            }
            println!("{p} {q:?}: mean {:?} worst {:?}; {} bit/s", all / n, worst, bytes * 4);
            let fs: Vec<_> = out.iter().map(|f| f.1.clone()).collect();
            for (i, pic) in seen(&fs).iter().enumerate() {
                if super::super::detect::pattern(pic) != Some(p) {
                    println!("  not seen: {i} {:?}", super::super::detect::pattern(pic));
                }
            }
            std::fs::write(format!("{dir}/{p}-{q:?}.ivf"), mux(Container::Ivf, &[Kind::Video], &out)).unwrap();
            std::fs::write(format!("{dir}/{p}-{q:?}.webm"), mux(Container::WebM, &[Kind::Video], &out)).unwrap();
        }
    }
    let flash = frames("pattern:flash", 6000);
    let mut both: Vec<_> = flash.into_iter().map(|f| (1, f)).chain(beep.into_iter().map(|f| (0, f))).collect();
    both.sort_by_key(|f| f.1.time);
    std::fs::write(format!("{dir}/both.webm"), mux(Container::WebM, &[Kind::Audio, Kind::Video], &both)).unwrap();
    println!("{:?}", super::super::detect::peak_hz(&heard(&audio), 48000));
}
