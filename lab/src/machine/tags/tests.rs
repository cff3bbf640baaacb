use super::*;
use pagewright_addr::PhysAddr;

const CORE: u32 = 0x5441_0001;
const MEM: u32 = 0x5441_0002;
const CMDLINE: u32 = 0x5441_0009;

/// Two banks, the higher one first, and a command line.
fn list() -> Vec<u8> {
    let words = [
        [2, CORE].as_slice(),
        &[4, MEM, 0x1000_0000, 0x9000_0000],
        &[4, MEM, 0x0800_0000, 0x8000_0000],
        &[4, CMDLINE, u32::from_le_bytes(*b"quie"), u32::from_le_bytes(*b"t\0\0\0")],
        &[0, 0],
    ];
    words.concat().iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

#[test]
fn a_list_is_a_machine_whose_image_lies_in_its_lowest_bank() {
    let machine = from_atags("board", list(), Flavour::Armmp).unwrap();
    assert_eq!(machine.image.load_start().get(), 0x8020_8000);
    let lent = machine.lend().unwrap();
    assert_eq!(lent.command_line(), pagewright_firmware::cmdline::CommandLine::new("quiet"));
}

#[test]
fn what_is_no_list_or_no_arm_kernel_is_refused() {
    let fault = from_atags("board", vec![0; 64], Flavour::Armmp).unwrap_err().to_string();
    assert!(fault.contains("expected 0x54410001"), "{fault}");
    let fault = from_atags("board", list(), Flavour::Arm64).unwrap_err().to_string();
    assert_eq!(fault, "ATAGs for arm64; expected arm or arm-lpae (--arch)");
}

#[test]
fn other_banks_leave_the_rest_of_the_list_alone() {
    let banks = [range(0x2000_0000, 1 << 28), range(0x6000_0000, 1 << 28)];
    let changed = with_memory(&list(), &banks).unwrap();
    let tags = Atags::parse(&changed).unwrap();
    assert_eq!(tags.memory.as_slice(), banks);
    assert_eq!(tags.cmdline, Some("quiet"));
    let fault = with_memory(&list(), &[range(1 << 32, 4096)]).unwrap_err().to_string();
    assert!(fault.contains("32-bit"), "{fault}");
    assert!(with_memory(&list(), &[range(0, 4096); 9]).unwrap_err().to_string().contains("at most 8"));
}
