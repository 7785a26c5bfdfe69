//! The page for people: the files of `cli/web`, as they are.

use enishi_core::http::asset::Asset;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &[u8]); 16] = [
    ("/", HTML, include_bytes!("../web/index.html")),
    ("/style.css", CSS, include_bytes!("../web/style.css")),
    ("/icon.svg", SVG, include_bytes!("../web/icon.svg")),
    ("/enishi.js", SCRIPT, include_bytes!("../web/enishi.js")),
    ("/enishi.d.ts", TYPES, include_bytes!("../web/enishi.d.ts")),
    ("/page.js", SCRIPT, include_bytes!("../web/page.js")),
    ("/call.js", SCRIPT, include_bytes!("../web/call.js")),
    ("/files.js", SCRIPT, include_bytes!("../web/files.js")),
    ("/media.js", SCRIPT, include_bytes!("../web/media.js")),
    ("/qr.js", SCRIPT, include_bytes!("../web/qr.js")),
    ("/record.js", SCRIPT, include_bytes!("../web/record.js")),
    ("/sha256.js", SCRIPT, include_bytes!("../web/sha256.js")),
    ("/stats.js", SCRIPT, include_bytes!("../web/stats.js")),
    ("/texts.js", SCRIPT, include_bytes!("../web/texts.js")),
    ("/tiles.js", SCRIPT, include_bytes!("../web/tiles.js")),
    ("/ui.js", SCRIPT, include_bytes!("../web/ui.js")),
];

/// What the server serves besides its endpoints.
pub fn assets() -> Vec<Asset> {
    FILES.iter().map(|(path, content_type, bytes)| Asset::new(*path, *content_type, *bytes)).collect()
}
