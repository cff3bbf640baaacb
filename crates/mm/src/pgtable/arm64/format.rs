//! The formats that an arm64 kernel can have, as one value.

use crate::built;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Machine;
use pagewright_kspace::Version;
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::format::arm64::{Arm64, Arm64Config, Half};
use pagewright_pagetable::{Format, Shape};

macro_rules! formats {
    ($($name:ident: $page_shift:literal, $va_bits:literal;)*) => {
        /// A page size and a number of address bits that Linux has, with what the machine chose at run time.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Arm64Format {
            $(
                #[doc = concat!("Pages of 2^", stringify!($page_shift), " bytes, ", stringify!($va_bits), "-bit addresses.")]
                $name(Arm64<$page_shift, $va_bits>),
            )*
        }

        impl Arm64Format {
            /// The format of that page size and address size; `None` if there is none.
            pub fn new(page_shift: u32, va_bits: u32, config: Arm64Config) -> Option<Self> {
                match (page_shift, va_bits) {
                    $(($page_shift, $va_bits) => Some(Self::$name(Arm64 { config })),)*
                    _ => None,
                }
            }

            /// The tree's levels.
            pub fn shape(&self) -> &'static Shape {
                match self {
                    $(Self::$name(_) => <Arm64<$page_shift, $va_bits> as Format>::TREE,)*
                }
            }

            /// Bits of an address that are translated.
            pub const fn va_bits(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $va_bits,)*
                }
            }

            /// What was chosen at run time.
            pub fn config(&self) -> Arm64Config {
                match self {
                    $(Self::$name(format) => format.config,)*
                }
            }

            /// Does something with the format.
            pub(crate) fn with<W: WithFormat>(self, what: W) -> W::Out {
                match self {
                    $(Self::$name(format) if built::arm64_pages($page_shift) => what.run(format),)*
                    format => panic!("{format:?} is not built in"),
                }
            }
        }
    };
}

formats! {
    Page4kVa39: 12, 39;
    Page4kVa48: 12, 48;
    Page16kVa36: 14, 36;
    Page16kVa47: 14, 47;
    Page16kVa48: 14, 48;
    Page64kVa42: 16, 42;
    Page64kVa48: 16, 48;
    Page64kVa52: 16, 52;
}

/// The kernel's half in the format of a machine's configuration; `None` for an address size that no kernel has.
pub fn format(machine: &Machine<'_>, version: Version) -> Option<Arm64Format> {
    of_half(machine, version, Half::High, machine.config.va_bits.into())
}

/// The format of an identity map that reaches up to `top`: the kernel's own address size, and 48 bits with a level or some
/// entries more where that does not reach. The root has as many entries as physical addresses need with 48 bits or more.
pub(crate) fn idmap_format(machine: &Machine<'_>, version: Version, top: PhysAddr) -> Option<Arm64Format> {
    let c = &machine.config;
    let bits = match u32::from(c.va_bits) {
        bits if bits < 48 && (top.get().max(1) - 1) >> bits == 0 => bits,
        _ if c.page_shift.get() == 16 && c.pa_bits.max(c.va_bits) > 48 => 52,
        _ => 48,
    };
    of_half(machine, version, Half::Low, bits)
}

fn of_half(machine: &Machine<'_>, version: Version, half: Half, bits: u32) -> Option<Arm64Format> {
    let c = &machine.config;
    let output_bits = u32::from(c.pa_bits).clamp(32, 52);
    let config =
        Arm64Config { half, memory: super::mmu::memory_types(version), hardware_dirty: true, output_bits };
    Arm64Format::new(c.page_shift.get(), bits, config)
}
