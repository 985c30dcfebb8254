//! Makes the bindings to the Zephyr subsystems that the firmware uses, for this board and configuration.

use std::env;
use std::path::PathBuf;

/// What src/ may call and name. Everything else of Zephyr stays out of reach.
const FUNCTIONS: &[&str] = &[
    "mqtt_(client_init|connect|publish|publish_qos1_ack|subscribe|unsubscribe|disconnect|abort|input|live)",
    "mqtt_keepalive_time_left",
    "mqtt_(client_custom_transport_.*|readall_publish_payload|read_publish_payload_blocking)",
    "self_test_(unseal|age)",
    "settings_(subsys_init|load_one|save_one|delete)",
    "sntp_(init|close)",
    "tls_credential_(add|delete)",
    "zsock_(getaddrinfo|freeaddrinfo)",
    "shim_.*",
];
const TYPES: &[&str] = &[
    "mqtt_.*",
    "msghdr",
    "net_sock_type",
    "sensor_device_health",
    "shim_.*",
    "sntp_ctx",
    "tls_credential_type",
    "zsock_addrinfo",
    // What zsock_pollfd is.
    "zvfs_pollfd",
];
const VALUES: &[&str] = &["AF_INET", "APP_VERSION_STRING", "SHIM_.*", "ZSOCK_POLLIN"];

fn main() {
    // zephyr_build announces the configuration with a directive that cargo does not know.
    for name in ["DOTCONFIG", "INCLUDE_DIRS", "INCLUDE_DEFINES", "ZEPHYR_BASE", "TARGET"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed={}", variable("DOTCONFIG"));
    println!("cargo:rerun-if-changed=src/bindings.h");
    for header in ["shim", "shim_flash", "shim_serial", "shim_slots", "shim_vault"] {
        println!("cargo:rerun-if-changed=src/{header}.h");
    }
    zephyr_build::export_bool_kconfig();
    zephyr_build::build_kconfig_mod();
    bind();
    include_key("factory.pub", named("CONFIG_SENSOR_FACTORY_KEY_FILE"));
    // CMake has put it there: the public half of SENSOR_IMAGE_KEY_FILE or of the key that signs.
    include_key("image_key.pub", Some(PathBuf::from(variable("DOTCONFIG")).with_file_name("image_key.pub")));
}

/// The file that this option names.
fn named(option: &str) -> Option<PathBuf> {
    let config = std::fs::read_to_string(variable("DOTCONFIG")).expect("the configuration can be read");
    let name =
        config.lines().find_map(|line| line.strip_prefix(option)?.strip_prefix("=\"")?.strip_suffix('"'));
    name.filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Puts a public key where src/keys.rs includes it from; an empty file where there is none.
fn include_key(to: &str, from: Option<PathBuf>) {
    let key = from.map_or_else(Vec::new, |from| {
        println!("cargo:rerun-if-changed={}", from.display());
        let key = std::fs::read(&from).unwrap_or_else(|error| panic!("the key {}: {error}", from.display()));
        let private = b"PRIVATE KEY";
        assert!(
            !key.windows(private.len()).any(|words| words == private),
            "{} is a private key, which has no place in a firmware: name its public half",
            from.display()
        );
        key
    });
    std::fs::write(PathBuf::from(variable("OUT_DIR")).join(to), key).expect("OUT_DIR can be written");
}

/// What Zephyr's build hands to cargo.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: build the firmware with `west build`"))
}

fn bind() {
    let target = variable("TARGET");
    let mut builder = bindgen::Builder::default()
        .header("src/bindings.h")
        .use_core()
        .clang_arg(format!("--target={target}"))
        .clang_arg("-DRUST_BINDGEN")
        // <inttypes.h> and its like: any libc's do, these are the ones that come with Zephyr.
        .clang_arg(format!("-I{}/lib/libc/minimal/include", variable("ZEPHYR_BASE")))
        .derive_copy(true)
        .derive_default(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .merge_extern_blocks(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    for (prefix, name) in [("-I", "INCLUDE_DIRS"), ("-D", "INCLUDE_DEFINES")] {
        for entry in variable(name).split([' ', ';']).filter(|entry| !entry.is_empty()) {
            builder = builder.clang_arg(format!("{prefix}{entry}"));
        }
    }
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for value in VALUES {
        builder = builder.allowlist_var(value);
    }
    let bindings = builder.generate().expect("bindgen reads src/bindings.h");
    let path = PathBuf::from(variable("OUT_DIR")).join("bindings.rs");
    bindings.write_to_file(&path).expect("the bindings can be written into OUT_DIR");
}
