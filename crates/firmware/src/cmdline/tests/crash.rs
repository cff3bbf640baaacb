//! `crashkernel=`.

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn resolve(text: &str, ram: u64) -> Result<CrashSize, CrashkernelError> {
    Crashkernel::find(text).unwrap().resolve(ram)
}

fn sized(size: u64, base: u64) -> Result<CrashSize, CrashkernelError> {
    Ok(CrashSize { size, base })
}

#[test]
fn a_plain_size_may_name_its_place() {
    assert_eq!(resolve("crashkernel=256M", 4 * GIB), sized(256 * MIB, 0));
    assert_eq!(resolve("a crashkernel=64M@16M b", 4 * GIB), sized(64 * MIB, 16 * MIB));
    assert_eq!(resolve("crashkernel=64M@", 4 * GIB), sized(64 * MIB, 0));
}

#[test]
fn the_last_one_counts_and_suffixed_ones_are_others() {
    let text = "crashkernel=1M crashkernel=2M crashkernel=3M,high crashkernel=4M,low crashkernel=5M,high";
    assert_eq!(resolve(text, GIB), sized(2 * MIB, 0));
    let found = Crashkernel::find(text).unwrap();
    assert_eq!(found.resolve_suffix(CrashkernelSuffix::High), sized(5 * MIB, 0));
    assert_eq!(found.resolve_suffix(CrashkernelSuffix::Low), sized(4 * MIB, 0));
    assert_eq!(resolve("crashkernel=3M,high", GIB), Err(CrashkernelError::NotGiven));
    assert_eq!(
        Crashkernel::find("crashkernel=3M").unwrap().resolve_suffix(CrashkernelSuffix::Low),
        Err(CrashkernelError::NotGiven)
    );
    assert_eq!(Crashkernel::find("crashkernel 3M"), None);
}

#[test]
fn of_a_list_the_range_with_the_machines_ram_counts() {
    let list = "crashkernel=512M-2G:64M,2G-8G:128M,8G-:256M@32M";
    assert_eq!(resolve(list, GIB), sized(64 * MIB, 32 * MIB));
    assert_eq!(resolve(list, 4 * GIB), sized(128 * MIB, 32 * MIB));
    assert_eq!(resolve(list, 64 * GIB), sized(256 * MIB, 32 * MIB));
    assert_eq!(resolve(list, 300 * MIB), sized(0, 0));
    // Sizes are compared with all RAM before the range is looked at.
    assert_eq!(resolve(list, 256 * MIB), Err(CrashkernelError::InvalidSize));
}

#[test]
fn ram_is_rounded_up_to_128_mib_for_ranges() {
    let list = "crashkernel=1G-2G:64M";
    assert_eq!(resolve(list, GIB - 100 * MIB), sized(64 * MIB, 0));
    assert_eq!(resolve(list, GIB - 129 * MIB), sized(0, 0));
    assert_eq!(resolve(list, 2 * GIB - MIB), sized(0, 0));
}

#[test]
fn ill_formed_values_are_refused_in_the_kernels_words() {
    let words = |text: &str| resolve(text, GIB).unwrap_err().to_string();
    assert_eq!(words("crashkernel=x"), "crashkernel: memory value expected");
    assert_eq!(words("crashkernel=64Mx"), "crashkernel: unrecognized char: x");
    assert_eq!(words("crashkernel=64M,hi"), "crashkernel: unrecognized char: ,");
    assert_eq!(words("crashkernel=x-1G:64M"), "crashkernel: Memory value expected");
    assert_eq!(words("crashkernel=1G:64M"), "crashkernel: '-' expected");
    assert_eq!(words("crashkernel=1G-x:64M"), "crashkernel: Memory value expected");
    assert_eq!(words("crashkernel=1G-2G:"), "crashkernel: Memory value expected");
    assert_eq!(words("crashkernel=2G-1G:64M"), "crashkernel: end <= start");
    assert_eq!(words("crashkernel=1G-2G,64M:"), "crashkernel: ':' expected");
    assert_eq!(words("crashkernel=0-2G:1G"), "crashkernel: invalid size");
    assert_eq!(words("crashkernel=0-2G:64M@"), "Memory value expected after '@'");
    let high = Crashkernel::find("crashkernel=64Mq,high").unwrap();
    assert_eq!(high.resolve_suffix(CrashkernelSuffix::High), Err(CrashkernelError::UnrecognizedChar('q')));
}

#[test]
fn sizes_at_the_end_of_64_bits_do_no_harm() {
    assert_eq!(resolve("crashkernel=0-:1M", u64::MAX), sized(0, 0));
    assert_eq!(resolve("crashkernel=0-:0xffffffffffffffff", GIB), Err(CrashkernelError::InvalidSize));
}

#[test]
fn it_is_found_wherever_it_stands_if_the_kernel_has_kexec() {
    assert!(parse(Arch::Arm64, "x -- crashkernel=1M").crashkernel.is_some());
    let config = KernelConfig { kexec_core: false, ..KernelConfig::for_arch(Arch::Arm64) };
    let (params, _) = CommandLine::new("crashkernel=1M").parse_for(&config);
    assert!(params.crashkernel.is_none() && params.unknown.contains("crashkernel"));
    assert_eq!(messages(Arch::Arm64, "crashkernel=1Mx"), ["crashkernel: unrecognized char: x"]);
}
