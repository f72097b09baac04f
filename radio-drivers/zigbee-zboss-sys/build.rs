//! With the feature `zboss-host`: bindings to the owner's SDK, the shim compiled against its headers, its libraries linked.
//! Without it: nothing, so that the crate builds where there is neither SDK nor libclang.
#![allow(clippy::print_stdout)] // how a build script speaks to cargo

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "zboss-host")]
    if let Err(problem) = sdk::build() {
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
    }
}

#[cfg(feature = "zboss-host")]
mod sdk {
    use std::env;
    use std::panic::AssertUnwindSafe;
    use std::path::{Path, PathBuf};

    /// Where the SDK is; the others say what is unusual about it.
    const ROOT: &str = "ZBOSS_HOST_SDK";
    const INCLUDE: &str = "ZBOSS_HOST_INCLUDE";
    const LIBS: &str = "ZBOSS_HOST_LIBS";
    const CFLAGS: &str = "ZBOSS_HOST_CFLAGS";
    const HEADER: &str = "zboss_api.h";

    /// What the program calls by itself; the rest goes through the shim.
    const FUNCTIONS: &str = "cardea_zb_.*|zboss_start_no_autostart|zboss_main_loop|zb_set_network_coordinator_role|\
                             zb_set_nvram_erase_at_start|zb_set_pan_id|zb_set_extended_pan_id|zb_secur_setup_nwk_key|\
                             zb_set_installcode_policy|zb_bdb_set_legacy_device_support|zb_zdo_set_aps_unsecure_join|\
                             zb_secur_set_tc_rejoin_enabled|zb_secur_set_ignore_tc_rejoin|zb_set_rx_on_when_idle|\
                             zb_set_max_children|zb_get_long_address|zb_get_extended_pan_id|zb_get_pan_id|\
                             zb_get_current_channel|zb_zdo_joined|zb_address_short_by_ieee|zb_address_ieee_by_short|\
                             zb_get_version";

    pub(crate) fn build() -> Result<(), String> {
        for variable in [ROOT, INCLUDE, LIBS, CFLAGS, "LIBCLANG_PATH"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        println!("cargo::rerun-if-changed=shim");
        let sdk = Sdk::find()?;
        sdk.include.iter().for_each(|directory| println!("cargo::rerun-if-changed={}", directory.display()));
        sdk.archives.iter().for_each(|archive| println!("cargo::rerun-if-changed={}", archive.display()));
        sdk.bind()?;
        sdk.compile()?;
        sdk.link();
        Ok(())
    }

    struct Sdk {
        include: Vec<PathBuf>,
        archives: Vec<PathBuf>,
        flags: Vec<String>,
    }

    impl Sdk {
        fn find() -> Result<Self, String> {
            let root = match env::var_os(ROOT) {
                Some(root) if !root.is_empty() => PathBuf::from(root),
                _ => return Err(advice(&format!("{ROOT} is not set"))),
            };
            if !root.is_absolute() || !root.is_dir() {
                return Err(advice(&format!(
                    "{ROOT} is {}, which is no absolute path of a directory",
                    root.display()
                )));
            }
            let include = match env::var_os(INCLUDE) {
                Some(list) => env::split_paths(&list).collect(),
                None => vec![root.join("include"), root.join("include/osif")],
            };
            if !include.iter().any(|directory| directory.join(HEADER).is_file()) {
                return Err(advice(&format!("there is no {HEADER} in {}", list(&include))));
            }
            let archives = match env::var_os(LIBS) {
                Some(list) => env::split_paths(&list).collect(),
                None => archives(&root.join("lib")),
            };
            if archives.is_empty() {
                return Err(advice(&format!("there is no library (*.a) in {}", root.join("lib").display())));
            }
            if let Some(missing) = archives.iter().find(|archive| !archive.is_file()) {
                return Err(advice(&format!("{LIBS} names {}, which is no file", missing.display())));
            }
            let flags = env::var(CFLAGS).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            Ok(Self { include, archives, flags })
        }

        fn bind(&self) -> Result<(), String> {
            let mut builder = bindgen::Builder::default()
                .header("shim/shim.h")
                .allowlist_function(FUNCTIONS)
                .allowlist_var("CARDEA_.*")
                .blocklist_function("cardea_on_.*")
                .rust_edition(bindgen::RustEdition::Edition2024)
                .layout_tests(false)
                .formatter(bindgen::Formatter::None)
                .clang_args(&self.flags);
            for directory in &self.include {
                builder = builder.clang_arg(format!("-I{}", directory.display()));
            }
            let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo has not said where to build")?;
            // bindgen panics where there is no libclang.
            std::panic::set_hook(Box::new(|_| {}));
            let bindings = std::panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
            let _ = std::panic::take_hook();
            bindings
                .map_err(|_| {
                    "bindgen found no libclang: install it (Debian: libclang-dev) or set LIBCLANG_PATH to its directory"
                        .to_owned()
                })?
                .map_err(|error| {
                    advice(&format!("the headers in {} cannot be read: {error}", list(&self.include)))
                })?
                .write_to_file(out.join("zboss.rs"))
                .map_err(|error| format!("the bindings cannot be written: {error}"))
        }

        fn compile(&self) -> Result<(), String> {
            let mut build = cc::Build::new();
            build.file("shim/shim.c").std("gnu11").includes(&self.include).cargo_metadata(true);
            for flag in &self.flags {
                build.flag(flag);
            }
            build.try_compile("cardea_zboss_shim").map_err(|error| {
                advice(&format!(
                    "shim/shim.c cannot be compiled against the headers in {}: they lack something that the program \
                     needs, or have it in another shape: {error}",
                    list(&self.include)
                ))
            })
        }

        /// As one group: a vendor's archives use each other.
        fn link(&self) {
            println!("cargo::rustc-link-arg=-Wl,--start-group");
            for archive in &self.archives {
                println!("cargo::rustc-link-arg={}", archive.display());
            }
            println!("cargo::rustc-link-arg=-Wl,--end-group");
            for library in ["pthread", "rt", "m"] {
                println!("cargo::rustc-link-arg=-l{library}");
            }
        }
    }

    fn archives(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut archives: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "a"))
            .collect();
        archives.sort();
        archives
    }

    fn list(paths: &[PathBuf]) -> String {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The problem, and what the owner can do about it.
    fn advice(problem: &str) -> String {
        format!(
            "the feature `zboss-host` needs a ZBOSS host SDK of yours, and {problem}.\n\
             Set {ROOT} to the absolute path of the SDK's directory: include/{HEADER} and lib/*.a are looked for in it.\n\
             If they are elsewhere, set {INCLUDE} (directories) and {LIBS} (archives, in any order), separated by \
             colons; {CFLAGS} for definitions that the headers want.\n\
             This project has no such SDK and may not hand one on: makers of chips with ZBOSS give it to their \
             customers (Nordic Semiconductor: \"ZBOSS NCP Host\", linked from the documentation of its Zigbee add-on), \
             under licences that tie it to their chips.\n\
             Without the feature nothing of this is needed; docs/zigbee.md has the other ways to run a ZBOSS dongle."
        )
    }
}
