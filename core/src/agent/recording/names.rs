//! What files are called: ids of remote peers are theirs to choose, names of files are not.

use std::time::Duration;

use crate::clock::rfc3339;
use crate::media::Container;

/// The longest part of a file's name that comes from an id, in bytes. File systems take names of 255.
const LONGEST_STEM: usize = 64;

/// How many names are tried.
const ATTEMPTS: u32 = 9_999;

/// The names that a file may get, the first that is free: `x.webm`, `x-2.webm`, `x-3.webm` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naming {
    stem: String,
    extension: String,
    attempt: u32,
}

impl Naming {
    /// In a folder: `alice-20261121T032731Z.webm`.
    pub(super) fn in_folder(folder: &str, id: &str, unix: Duration, container: Container) -> Self {
        let slash = if folder.is_empty() || folder.ends_with('/') { "" } else { "/" };
        let stem = format!("{folder}{slash}{}-{}", stem(id), stamp(unix));
        Naming { stem, extension: container.extension().to_owned(), attempt: 1 }
    }

    /// A file that was named, with this behind its stem.
    pub(super) fn file(path: &str, behind: &str) -> Self {
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let dot = path[name..].rfind('.').filter(|dot| *dot > 0).map_or(path.len(), |dot| name + dot);
        let extension = path[dot..].trim_start_matches('.').to_owned();
        Naming { stem: format!("{}{behind}", &path[..dot]), extension, attempt: 1 }
    }

    /// The name that is to be tried now.
    pub(super) fn path(&self) -> String {
        let number = if self.attempt == 1 { String::new() } else { format!("-{}", self.attempt) };
        let dot = if self.extension.is_empty() { "" } else { "." };
        format!("{}{number}{dot}{}", self.stem, self.extension)
    }

    /// That one is taken. `false`: so are all others that would be tried.
    pub(super) fn next(&mut self) -> bool {
        self.attempt += 1;
        self.attempt <= ATTEMPTS
    }
}

/// An id as a part of a file's name: letters, digits, `-`, `_`, and dots within; never empty, never more than
/// [`LONGEST_STEM`] bytes. Different ids may become the same.
fn stem(id: &str) -> String {
    let mut stem = String::new();
    for letter in id.chars() {
        let is_edge = stem.is_empty();
        let letter = match letter {
            letter if letter.is_alphanumeric() || letter == '_' => letter,
            '-' | '.' if !is_edge => letter,
            _ => '_',
        };
        if stem.len() + letter.len_utf8() > LONGEST_STEM {
            break;
        }
        stem.push(letter);
    }
    if stem.is_empty() { "peer".to_owned() } else { stem }
}

/// A moment in UTC as file names have it, in the basic format of ISO 8601: no colons.
fn stamp(unix: Duration) -> String {
    rfc3339(Duration::from_secs(unix.as_secs()))
        .chars()
        .take(19)
        .filter(|letter| !"-:".contains(*letter))
        .collect::<String>()
        + "Z"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIX: Duration = Duration::from_millis(1_795_231_651_999);

    #[test]
    fn a_file_in_a_folder_tells_who_and_when() {
        let mut naming = Naming::in_folder("out", "alice", UNIX, Container::WebM);
        assert_eq!(naming.path(), "out/alice-20261121T032731Z.webm");
        assert!(naming.next());
        assert_eq!(naming.path(), "out/alice-20261121T032731Z-2.webm");
        assert_eq!(Naming::in_folder("out/", "b", UNIX, Container::WebM).path(), "out/b-20261121T032731Z.webm");
        assert_eq!(Naming::in_folder("", "b", UNIX, Container::Ogg).path(), "b-20261121T032731Z.ogg");
    }

    #[test]
    fn a_named_file_keeps_its_name_and_gets_a_number_if_it_must() {
        for (path, behind, second) in [
            ("call.webm", "", "call-2.webm"),
            ("a.b/call.tar.ogg", "", "a.b/call.tar-2.ogg"),
            ("a.b/call", "", "a.b/call-2"),
            (".wav", "", ".wav-2"),
            ("call.WAV", "-ours", "call-ours-2.WAV"),
        ] {
            let mut naming = Naming::file(path, behind);
            if behind.is_empty() {
                assert_eq!(naming.path(), path);
            }
            assert!(naming.next());
            assert_eq!(naming.path(), second);
        }
    }

    #[test]
    fn names_do_not_go_on_for_ever() {
        let mut naming = Naming::file("x.ogg", "");
        let tried = 1 + std::iter::from_fn(|| naming.next().then_some(())).count();
        assert_eq!(tried, ATTEMPTS as usize);
    }

    #[test]
    fn ids_become_harmless() {
        for (id, expected) in [
            ("alice", "alice"),
            ("Zoë 日本", "Zoë_日本"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            (".hidden", "_hidden"),
            ("-rf", "_rf"),
            ("a\\b:c*d?e\"f<g>h|i\0j\nk", "a_b_c_d_e_f_g_h_i_j_k"),
            ("\u{202e}gpj.exe", "_gpj.exe"),
            ("", "peer"),
        ] {
            assert_eq!(stem(id), expected, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn no_id_leads_out_of_its_folder(id in any::<String>(), long in "\\PC{0,300}") {
            for id in [id, long] {
                let path = Naming::in_folder("out", &id, UNIX, Container::WebM).path();
                let name = path.strip_prefix("out/").expect("in the folder");
                prop_assert!(!name.contains(['/', '\\', ':', '\0']), "{name:?}");
                prop_assert!(!name.chars().any(char::is_control), "{name:?}");
                prop_assert!(!name.starts_with(['.', '-']), "{name:?}");
                prop_assert!(name.len() <= LONGEST_STEM + "-20261121T032731Z.webm".len(), "{name:?}");
                prop_assert!(name.len() > "-20261121T032731Z.webm".len(), "{name:?}");
            }
        }
    }
}
