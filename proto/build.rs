//! Compiles the `.proto` files without a system `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 14] = [
    "switchyard/v1/audit.proto",
    "switchyard/v1/backend.proto",
    "switchyard/v1/certificate.proto",
    "switchyard/v1/dns_provider.proto",
    "switchyard/v1/domain.proto",
    "switchyard/v1/edge.proto",
    "switchyard/v1/invite.proto",
    "switchyard/v1/issuer.proto",
    "switchyard/v1/service.proto",
    "switchyard/v1/task.proto",
    "switchyard/v1/token.proto",
    "switchyard/v1/unreadable.proto",
    "switchyard/fleet/v1/fleet.proto",
    "switchyard/store/v1/store.proto",
];

/// The packages whose code is part of this crate.
const PACKAGES: [&str; 2] = ["switchyard.v1", "switchyard.fleet.v1"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=switchyard");
    println!("cargo:rerun-if-changed=google");
    // Not `protox::compile`, whose messages have no room for the options that we have defined.
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let encoded = compiler.encode_file_descriptor_set();
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("descriptors.bin"), &encoded)?;

    let mut config = prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".switchyard.fleet.v1")
        .bytes(".switchyard.store.v1")
        // Sorted: equal messages are equal bytes.
        .btree_map(".switchyard")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    pbjson_build::Builder::new()
        .btree_map([".switchyard"])
        .register_descriptors(&encoded)?
        .build(&PACKAGES.map(|package| format!(".{package}")))?;
    Ok(())
}
