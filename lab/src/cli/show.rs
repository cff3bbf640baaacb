//! `pagewright show FILE`

use super::machine::MachineArgs;
use super::{Outcome, print};
use crate::fault::Fault;
use crate::run::{self, Booted};
use pagewright_memblock::Set;

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The file, as Linux 6.1 prints it right after boot.
    #[arg(value_enum)]
    file: File,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum File {
    Zoneinfo,
    Buddyinfo,
    Pagetypeinfo,
    Meminfo,
    Iomem,
    #[value(name = "memblock/memory")]
    MemblockMemory,
    #[value(name = "memblock/reserved")]
    MemblockReserved,
    Vmstat,
}

/// Runs the command.
pub(super) fn run(args: &ShowArgs) -> Result<Outcome, Fault> {
    let machine = args.machine.machine()?;
    let text = run::boot(&machine, |booted| render(args.file, booted), |_| ())?;
    print(text)?;
    Ok(Outcome::Fine)
}

fn render(file: File, booted: &Booted<'_, '_, '_, '_, '_>) -> String {
    match file {
        File::Zoneinfo => booted.zoneinfo().to_string(),
        File::Buddyinfo => booted.buddyinfo().to_string(),
        File::Pagetypeinfo => booted.pagetypeinfo().to_string(),
        File::Meminfo => booted.meminfo().to_string(),
        File::Iomem => booted.iomem().to_string(),
        File::MemblockMemory => booted.memblock(Set::Memory).to_string(),
        File::MemblockReserved => booted.memblock(Set::Reserved).to_string(),
        File::Vmstat => booted.vmstat().to_string(),
    }
}
