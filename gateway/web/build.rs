//! Compresses the page's assets once, here, and names each by its content: a browser may keep them for ever.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

const ASSETS: [(&str, &str, &str); 5] = [
    ("STYLE", "page.css", "text/css; charset=utf-8"),
    ("SCRIPT", "page.js", "text/javascript; charset=utf-8"),
    ("ICON", "icon.svg", "image/svg+xml"),
    ("READER_TABLES", "qr/index.js", "text/javascript; charset=utf-8"),
    ("READER", "qr/decode.js", "text/javascript; charset=utf-8"), // imports the one before it
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::var("OUT_DIR")?;
    let mut table = String::new();
    let mut before = String::new();
    for (constant, file, kind) in ASSETS {
        println!("cargo::rerun-if-changed=assets/{file}");
        let mut plain = std::fs::read(Path::new("assets").join(file))?;
        if file == "qr/decode.js" {
            let import = format!("./{before}");
            let named = String::from_utf8(plain)?.replacen("./index.js", &import, 1);
            if !named.contains(&import) {
                return Err("assets/qr/decode.js does not import ./index.js".into());
            }
            plain = named.into_bytes();
        }
        let file = file.trim_start_matches("qr/");
        let mut digest = String::new();
        for byte in Sha256::digest(&plain).iter().take(8) {
            write!(digest, "{byte:02x}")?;
        }
        let (stem, extension) = file.split_once('.').ok_or("an asset without an extension")?;
        let name = format!("{stem}-{digest}.{extension}");
        before.clone_from(&name);

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&plain)?;
        let gzip = gzip.finish()?;
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 11, 22).write_all(&plain)?;
        for (suffix, bytes) in [("", &plain), (".gz", &gzip), (".br", &brotli)] {
            std::fs::write(Path::new(&out).join(format!("{file}{suffix}")), bytes)?;
        }
        writeln!(
            table,
            "/// `assets/{file}`.\npub(crate) const {constant}: Asset = Asset {{\n    path: \"/assets/{name}\",\n    \
             kind: \"{kind}\",\n    plain: include_bytes!(\"{file}\"),\n    gzip: include_bytes!(\"{file}.gz\"),\n    \
             brotli: include_bytes!(\"{file}.br\"),\n}};"
        )?;
    }
    std::fs::write(Path::new(&out).join("assets.rs"), table)?;
    Ok(())
}
