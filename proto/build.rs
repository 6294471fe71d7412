//! Compiles the `.proto` files without a system `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 12] = [
    "switchyard/v1/audit.proto",
    "switchyard/v1/backend.proto",
    "switchyard/v1/certificate.proto",
    "switchyard/v1/dns_provider.proto",
    "switchyard/v1/domain.proto",
    "switchyard/v1/edge.proto",
    "switchyard/v1/invite.proto",
    "switchyard/v1/issuer.proto",
    "switchyard/v1/service.proto",
    "switchyard/v1/token.proto",
    "switchyard/fleet/v1/fleet.proto",
    "switchyard/store/v1/store.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=switchyard");
    let descriptors = protox::compile(FILES, ["."])?;
    let encoded = descriptors.encode_to_vec();
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .bytes(".switchyard.fleet.v1")
        .bytes(".switchyard.store.v1")
        // In order, so that the same document always has the same bytes.
        .btree_map(".switchyard.store.v1")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".switchyard.v1", ".switchyard.fleet"])?;
    Ok(())
}
