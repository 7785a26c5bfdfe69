//! What a remote cannot make endless.

use super::*;

#[test]
fn a_peer_that_comes_and_goes_makes_no_endless_files() {
    let mut scene = Scene::recording("out");
    for second in 0..limits::RECORDED_FILES as u64 + 3 {
        scene.now = scene.start + ms(second * 1_000);
        scene.add("eve", SOUND, Kind::Audio);
        scene.frame("eve", SOUND, &sound(ms(second * 1_000)));
        scene.remove("eve", SOUND);
    }
    assert_eq!(scene.files().len(), limits::RECORDED_FILES);
    let warnings = scene.notices.iter().filter(|notice| matches!(notice, AgentNotice::Warning(_)));
    assert_eq!(warnings.count(), 1);
}
