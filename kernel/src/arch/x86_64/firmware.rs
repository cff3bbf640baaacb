//! What the firmware says, kept where it outlives the tables that it is read from.

use super::window;
use arrayvec::{ArrayString, ArrayVec};
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_firmware::{Arch, BuildFacts, Cpus, Firmware, Machine, MpTable, Pc};
use pagewright_kernel::exit::Exit;
use pagewright_kernel::options::{Inject, OptionError, Options};
use pagewright_kernel::pc::acpi::{Acpi, AcpiFault};
use pagewright_kernel::pc::legacy;
use pagewright_kernel::pc::pvh::{self, COMMAND_LINE, MAP_ENTRIES, PvhError};
use pagewright_kernel::take::Take;

/// Everything that was handed over.
pub(super) struct Kept {
    /// The memory map.
    pub(super) map: ArrayVec<E820Entry, MAP_ENTRIES>,
    /// ACPI's tables.
    pub(super) acpi: Acpi,
    cmdline: ArrayString<{ COMMAND_LINE as usize }>,
    initrd: Option<PhysRange>,
    mp_table: Option<MpTable>,
    ebda: Option<PhysAddr>,
}

static KEPT: Take<Kept> = Take::new(Kept {
    map: ArrayVec::new_const(),
    acpi: Acpi::new(),
    cmdline: ArrayString::new_const(),
    initrd: None,
    mp_table: None,
    ebda: None,
});

/// Why there is no machine to boot.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    /// There is no hand-over.
    Pvh(PvhError),
    /// The command line asks the image for what it does not have.
    Options(OptionError<'static>),
    /// ACPI's tables are damaged.
    Acpi(AcpiFault),
    /// There is no device tree to damage.
    NoTree,
    /// This was asked before.
    Twice,
}

impl Refused {
    /// How the image ends then.
    pub(super) fn exit(&self) -> Exit {
        if matches!(self, Self::Options(_) | Self::NoTree) { Exit::Usage } else { Exit::BootFailed }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pvh(e) => e.fmt(f),
            Self::Options(e) => e.fmt(f),
            Self::Acpi(e) => e.fmt(f),
            Self::NoTree => f.write_str("inject=fdt: a PC has no device tree"),
            Self::Twice => f.write_str("the hand-over was read before"),
        }
    }
}

/// Reads the start information at `info` and what it leads to.
///
/// # Errors
/// [`Refused`].
pub(super) fn read(info: PhysAddr) -> Result<(&'static Kept, Options<'static>), Refused> {
    let kept = KEPT.take().ok_or(Refused::Twice)?;
    let handover = pvh::parse(&window::bytes, info).map_err(Refused::Pvh)?;
    kept.map = handover.map;
    // It was cut to what there is room for.
    let _ = kept.cmdline.try_push_str(handover.cmdline);
    kept.initrd = handover.initrd;
    let inject = Options::parse(handover.cmdline).map_err(Refused::Options)?.inject;
    if inject == Some(Inject::Fdt) {
        return Err(Refused::NoTree);
    }
    if let Some(rsdp) = handover.rsdp {
        if inject == Some(Inject::Acpi) {
            damage_acpi(rsdp);
        }
        kept.acpi.read(&window::bytes, rsdp).map_err(Refused::Acpi)?;
    }
    if inject == Some(Inject::Map) {
        damage_map(&mut kept.map);
    }
    kept.mp_table = legacy::mp_table(&window::bytes);
    kept.ebda = legacy::ebda(&window::bytes);
    let kept: &'static Kept = kept;
    let options = Options::parse(&kept.cmdline).map_err(Refused::Options)?;
    Ok((kept, options))
}

/// Gives every table that the root table leads to a length that cannot be.
fn damage_acpi(rsdp: PhysAddr) {
    let mut before = Acpi::new();
    // What cannot be read needs no damage.
    let _ = before.read(&window::bytes, rsdp);
    for table in &before.ranges {
        window::write_u32(table.start.saturating_add(4), u32::MAX);
    }
}

/// Adds RAM behind the RAM that is there.
fn damage_map(map: &mut ArrayVec<E820Entry, MAP_ENTRIES>) {
    const NOT_THERE: u64 = 8 << 30;
    let ram = map.iter().filter(|e| e.kind == E820Kind::Ram);
    let end = ram.map(|e| e.end().get()).max().unwrap_or(0).max(4 << 30).next_multiple_of(1 << 30);
    // A full map is damaged enough.
    let _ = map.try_push(E820Entry::new(end, NOT_THERE, E820Kind::Ram));
}

impl Kept {
    /// Whole pages of RAM, as the map has them.
    pub(super) fn ram(&self) -> impl Iterator<Item = PhysRange> {
        let ram = self.map.iter().filter(|e| e.kind == E820Kind::Ram && !e.wraps());
        ram.map(|e| PhysRange::new(e.range().start.align_up(4096), e.range().end.align_down(4096)))
            .filter(|r| r.start < r.end)
    }

    /// The machine.
    pub(super) fn machine(&self, cpus: Cpus) -> Machine<'_> {
        let config = super::image::CONFIG;
        Machine {
            arch: Arch::X86_64,
            config,
            image: super::image::facts(),
            build: BuildFacts::for_config(&config),
            firmware: Firmware::Pc(Pc {
                e820: &self.map,
                numa: self.acpi.numa(),
                acpi_tables: &self.acpi.ranges,
                mp_table: self.mp_table,
                io_apics: &self.acpi.io_apics,
                hotplug_cpus: self.acpi.madt.hotplug,
                hpet: self.acpi.hpet,
                ebda: self.ebda,
                ..Pc::default()
            }),
            initrd: self.initrd,
            cmdline: Some(CommandLine::new(&self.cmdline)),
            cpus,
            seed: None,
        }
    }
}
