//! The page for people: the files of `cli/web`.
//!
//! They are served line by line as they are, only without what is there for readers of the source: indentation, empty
//! lines, and lines that are a comment. So nothing has to be built, a browser's debugger shows the lines of the source,
//! and all that it loads stays small.

use enishi_core::http::asset::Asset;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Path, type, and the file.
const FILES: [(&str, &str, &str); 16] = [
    ("/", HTML, include_str!("../web/index.html")),
    ("/style.css", STYLE, include_str!("../web/style.css")),
    ("/icon.svg", PICTURE, include_str!("../web/icon.svg")),
    ("/page.js", SCRIPT, include_str!("../web/page.js")),
    ("/call.js", SCRIPT, include_str!("../web/call.js")),
    ("/enishi.js", SCRIPT, include_str!("../web/enishi.js")),
    ("/files.js", SCRIPT, include_str!("../web/files.js")),
    ("/media.js", SCRIPT, include_str!("../web/media.js")),
    ("/qr.js", SCRIPT, include_str!("../web/qr.js")),
    ("/record.js", SCRIPT, include_str!("../web/record.js")),
    ("/sha256.js", SCRIPT, include_str!("../web/sha256.js")),
    ("/stats.js", SCRIPT, include_str!("../web/stats.js")),
    ("/texts.js", SCRIPT, include_str!("../web/texts.js")),
    ("/tiles.js", SCRIPT, include_str!("../web/tiles.js")),
    ("/ui.js", SCRIPT, include_str!("../web/ui.js")),
    // For developers; the page does not load it.
    (TYPES_PATH, TYPES, include_str!("../web/enishi.d.ts")),
];

const TYPES_PATH: &str = "/enishi.d.ts";

/// What the server serves besides its endpoints.
pub fn assets() -> Vec<Asset> {
    FILES.iter().map(|&(path, content_type, text)| Asset::new(path, content_type, served(path, text))).collect()
}

fn served(path: &str, text: &str) -> String {
    if path == TYPES_PATH { text.to_owned() } else { lean(text) }
}

/// A text without indentation, empty lines and lines that are a comment (`//`, or `/*` to a line that ends in `*/`).
/// The only literal that goes over several lines is the dictionary, which is read line by line.
fn lean(text: &str) -> String {
    let mut lean = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        if !in_comment && !begins && !line.is_empty() && !line.starts_with("//") {
            lean.push_str(line);
            lean.push('\n');
        }
        in_comment = (in_comment || begins) && !line.ends_with("*/");
    }
    lean
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Everything that a browser loads for the page, in bytes.
    const MOST_BYTES: usize = 100 * 1024;

    fn all() -> impl Iterator<Item = (&'static str, &'static str, String)> {
        FILES.iter().map(|&(path, kind, text)| (path, kind, served(path, text)))
    }

    #[test]
    fn the_page_is_small() {
        let sizes: Vec<_> =
            all().filter(|(path, ..)| *path != TYPES_PATH).map(|(path, _, text)| (path, text.len())).collect();
        let sum: usize = sizes.iter().map(|(_, size)| size).sum();
        assert!(sum < MOST_BYTES, "{sum} bytes: {sizes:?}");
    }

    #[test]
    fn every_file_is_served_and_what_a_file_loads_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| format!("/{}", entry.unwrap().file_name().to_str().unwrap()).replace("/index.html", "/"))
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert_eq!(files, served);
        for (path, kind, text) in all().filter(|(path, kind, _)| *kind == SCRIPT && *path != TYPES_PATH) {
            for import in text.lines().filter(|line| line.starts_with("import ")) {
                let module = import.split("'./").nth(1).and_then(|rest| rest.strip_suffix("';"));
                let module = module.unwrap_or_else(|| panic!("{path} ({kind}): {import}"));
                assert!(served.contains(&format!("/{module}")), "{path}: {import}");
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for (path, kind, text) in all() {
            for elsewhere in ["//cdn", "@import", "url(", "eval(", "innerHTML", "outerHTML", "insertAdjacentHTML"] {
                assert!(!text.contains(elsewhere), "{path}: {elsewhere}");
            }
            let links = text.replace("http://www.w3.org/2000/svg", "").replace("http://localhost", "");
            assert!(kind == TYPES || !links.contains("http://") && !links.contains("https://\""), "{path}");
            if kind == HTML {
                for inline in [" style=\"", " onclick", " onload", "<style", "<script>"] {
                    assert!(!text.contains(inline), "{path}: {inline}");
                }
            }
        }
    }

    #[test]
    fn only_comments_and_indentation_are_left_out() {
        let source = "/* One. */\na {\n  b: c; /* kept */\n\n  /**\n   * Two\n   */\n  // three\n  d('// four');\n}\n";
        assert_eq!(lean(source), "a {\nb: c; /* kept */\nd('// four');\n}\n");
        // A literal that goes over several lines would be changed.
        for (path, _, text) in all().filter(|(path, kind, _)| *kind == SCRIPT && *path != "/texts.js") {
            for line in text.lines() {
                assert_eq!(line.matches('`').count() % 2, 0, "{path}: {line}");
            }
        }
    }
}
