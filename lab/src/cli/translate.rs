//! `pagewright translate ADDRESS`

use super::machine::MachineArgs;
use super::size::number;
use super::{Outcome, print};
use crate::fault::Fault;
use crate::run;
use crate::show::page_tables::translate;
use pagewright_addr::VirtAddr;
use pagewright_sim::mmu::{Access, AccessKind};

/// Arguments of `translate`.
#[derive(clap::Args, Debug)]
pub(super) struct TranslateArgs {
    /// A virtual address, such as 0xffffffff81000000.
    #[arg(value_parser = address, value_name = "ADDRESS")]
    address: VirtAddr,
    /// What is done there; without it, each of the three.
    #[arg(long, value_enum)]
    access: Vec<Kind>,
    /// User code does it.
    #[arg(long)]
    user: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    Read,
    Write,
    Execute,
}

/// Digits with `0x` before them, or without where they are too many for anything else.
fn address(text: &str) -> Result<VirtAddr, String> {
    let digits = text.replace('_', "");
    let hex = || u64::from_str_radix(&digits, 16).ok().filter(|_| digits.len() >= 8);
    hex()
        .or_else(|| number(&digits))
        .map(VirtAddr::new)
        .ok_or_else(|| "expected an address such as 0xffffffff81000000".to_owned())
}

/// Runs the command.
pub(super) fn run(args: &TranslateArgs) -> Result<Outcome, Fault> {
    let machine = args.machine.machine()?;
    let kinds = if args.access.is_empty() {
        vec![Kind::Read, Kind::Write, Kind::Execute]
    } else {
        args.access.clone()
    };
    let accesses: Vec<Access> = kinds
        .into_iter()
        .map(|kind| Access {
            kind: match kind {
                Kind::Read => AccessKind::Read,
                Kind::Write => AccessKind::Write,
                Kind::Execute => AccessKind::Execute,
            },
            user: args.user,
        })
        .collect();
    let text = run::boot(&machine, |booted| translate(booted, args.address, &accesses), |_| ())??;
    print(text)?;
    Ok(Outcome::Fine)
}
