//! Loads modules of real kernels into simulated memory and says how they lie: `cargo run -p pagewright-sim --example module -- FILE.ko...`
//!
//! Every symbol that a module asks the kernel for is taken to be one function, 200 MiB before the module.

use pagewright_kspace::module::{Group, Module, ModuleFile, ModuleLayout, Part, Place};
use pagewright_sim::modules::{FlatKernel, machine_of};

fn show(path: &str) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let arch = machine_of(&bytes);
    let file = ModuleFile::parse(&bytes, arch).map_err(|e| e.to_string())?;
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = ModuleLayout::new(&file, 4096, &mut places).map_err(|e| e.to_string())?;
    let mut host = FlatKernel::new(arch, 256 << 20);
    let module = Module::load(&file, &layout, &mut host).map_err(|e| e.to_string())?;
    let kib = |part: Part| {
        Group::ALL
            .map(|group| module.group(part, group).map_or(0, |range| range.len >> 10).to_string())
            .join("+")
    };
    println!(
        "{path}: core {} KiB, init {} KiB, {} of the kernel's symbols, {:?} of {} veneers",
        kib(Part::Core),
        kib(Part::Init),
        file.undefined().count(),
        module.veneers,
        layout.core.veneer_room
    );
    Ok(())
}

fn main() {
    let mut failed = 0;
    let files: Vec<String> = std::env::args().skip(1).collect();
    for path in &files {
        if let Err(why) = show(path) {
            println!("{path}: {why}");
            failed += 1;
        }
    }
    println!("{} of {} modules loaded", files.len() - failed, files.len());
}
