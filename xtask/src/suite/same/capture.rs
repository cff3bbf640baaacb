//! What an image printed, as the files of a captured machine.

use crate::qemu::symbols;
use std::path::Path;

/// An image: whose configuration it has, and its symbols.
pub(crate) struct Model {
    /// As `cargo xtask qemu` takes it.
    pub(crate) name: &'static str,
    /// The kernel whose configuration it has.
    pub(crate) release: &'static str,
    /// Symbols that tell where the image's parts are, and what Linux calls them.
    pub(crate) symbols: &'static [(&'static str, &'static str)],
}

/// Symbols that are Linux's own, in all images that have a device tree.
const ARM: [(&str, &str); 10] = [
    ("_text", "_text"),
    ("_stext", "_stext"),
    ("_etext", "_etext"),
    ("_sdata", "_sdata"),
    ("_edata", "_edata"),
    ("__start_rodata", "__start_rodata"),
    ("__end_rodata", "__end_rodata"),
    ("__bss_start", "__bss_start"),
    ("__bss_stop", "__bss_stop"),
    // There are no init sections: data follows.
    ("_sdata", "__init_begin"),
];

/// All images.
pub(crate) const MODELS: [Model; 4] = [
    Model {
        name: "x86_64",
        release: "6.1.0-56-amd64",
        symbols: &[
            ("_text", "_text"),
            ("_text", "_stext"),
            ("_etext", "_etext"),
            ("__start_rodata", "__start_rodata"),
            ("__end_rodata", "__end_rodata"),
            ("_sdata", "_sdata"),
            ("_edata", "_edata"),
            ("__init_begin", "__init_begin"),
            ("__inittext_end", "_einittext"),
            ("__init_end", "__init_end"),
            ("__bss_start", "__bss_start"),
            ("__bss_stop", "__bss_stop"),
            ("_end", "__end_of_kernel_reserve"),
            ("__brk_limit", "_end"),
            ("init_top_pgt", "init_top_pgt"),
            ("level3_kernel_pgt", "level3_kernel_pgt"),
            ("level2_kernel_pgt", "level2_kernel_pgt"),
            ("level2_fixmap_pgt", "level2_fixmap_pgt"),
            ("level1_fixmap_pgt", "level1_fixmap_pgt"),
            ("early_top_pgt", "early_top_pgt"),
            ("early_dynamic_pgts", "early_dynamic_pgts"),
        ],
    },
    Model {
        name: "arm64",
        release: "6.1.0-50-arm64",
        symbols: &[
            ("_text", "_text"),
            ("_stext", "_stext"),
            ("_etext", "_etext"),
            ("__end_rodata", "__end_rodata"),
            ("__init_begin", "__init_begin"),
            ("__inittext_end", "__inittext_end"),
            ("__init_end", "__init_end"),
            ("_sdata", "_sdata"),
            ("_edata", "_edata"),
            ("__bss_start", "__bss_start"),
            ("__bss_stop", "__bss_stop"),
            ("__idmap_text_start", "__idmap_text_start"),
            ("__idmap_text_end", "__idmap_text_end"),
            ("idmap_pg_dir", "idmap_pg_dir"),
            ("tramp_pg_dir", "tramp_pg_dir"),
            ("swapper_pg_dir", "swapper_pg_dir"),
            ("init_idmap_pg_dir", "init_idmap_pg_dir"),
            ("init_idmap_pg_end", "init_idmap_pg_end"),
            ("init_pg_dir", "init_pg_dir"),
            ("init_pg_end", "init_pg_end"),
            ("bm_pte", "bm_pte"),
            ("bm_pmd", "bm_pmd"),
            ("bm_pud", "bm_pud"),
        ],
    },
    Model { name: "arm", release: "6.1.0-50-armmp", symbols: &ARM },
    Model { name: "arm-lpae", release: "6.1.0-50-armmp-lpae", symbols: &ARM },
];

/// The text in parts: the log, then the files by their headings.
pub(crate) fn parts(text: &str) -> (String, Vec<(String, String)>) {
    let (mut log, mut files) = (String::new(), Vec::<(String, String)>::new());
    for line in text.lines().map(str::trim_end) {
        let heading = line.strip_prefix("==> ").and_then(|l| l.strip_suffix(" <=="));
        match (heading, files.last_mut()) {
            (Some(name), _) => files.push((name.into(), String::new())),
            // Whatever has a time stamp is the log's, wherever it comes.
            _ if line.starts_with('[') => {
                // The image's own words, and what it does after the initcalls, are no facts of the boot.
                let own = ["pagewright: ", "smp: "].iter().any(|own| line.contains(&format!("] {own}")));
                if !own {
                    log.push_str(line);
                    log.push('\n');
                }
            }
            // The closing line ends whatever came last.
            _ if line.starts_with("pagewright: ") => {}
            (None, Some((_, file))) => {
                file.push_str(line);
                file.push('\n');
            }
            (None, None) => {}
        }
    }
    (log, files)
}

/// A line of x86's page tables in the words of captured ones: the entry's bits as letters.
pub(crate) fn run_of_x86(line: &str) -> Option<String> {
    let [range, phys, size, word] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let word = u64::from_str_radix(word, 16).ok()?;
    let bit = |n: u32, letter| if word >> n & 1 != 0 { letter } else { '-' };
    let x = if word >> 63 == 0 { 'x' } else { '-' };
    let letters: String =
        [bit(1, 'w'), bit(2, 'u'), x, bit(8, 'G'), bit(4, 'C'), bit(3, 'W')].iter().collect();
    Some(format!("{range} {phys} {size:>9} {letters}"))
}

/// The device tree's bytes, from what `dump=device-tree` printed.
pub(crate) fn device_tree(text: &str) -> Option<Vec<u8>> {
    let hex = |digits| usize::from_str_radix(digits, 16).ok();
    let mut lines = text.lines();
    let mut bytes = vec![0; hex(lines.next()?.strip_prefix("bytes ")?)?];
    for line in lines {
        let (at, digits) = line.split_once(' ')?;
        let at = hex(at)?;
        let to = bytes.get_mut(at..at + digits.len() / 2)?;
        for (n, byte) in to.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok()?;
        }
    }
    Some(bytes)
}

/// Writes what an image printed as the files of a capture. Returns the views, by name.
///
/// # Errors
/// What is missing, or cannot be written.
pub(crate) fn write(
    dir: &Path,
    model: &Model,
    text: &str,
    elf: &Path,
) -> Result<Vec<(String, String)>, String> {
    let fault = |e: std::io::Error| format!("{}: {e}", dir.display());
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(fault)?;
    let write = |name: &str, text: &[u8]| std::fs::write(dir.join(name), text).map_err(fault);
    let (log, mut files) = parts(text);
    // What the image has none of it does not free either; a real kernel's log says how much it was.
    let none = "[    9.999999] Freeing SMP alternatives memory: 0K\n[    9.999999] Freeing unused decrypted memory: 0K\n";
    let banner = format!("[    0.000000] Linux version {} (the image's configuration)\n", model.release);
    write("dmesg.txt", format!("{banner}{log}{none}").as_bytes())?;
    for (name, file) in &files {
        match name.as_str() {
            "page-tables/runs" if model.name == "x86_64" => {
                let runs: Vec<String> = file.lines().filter_map(run_of_x86).collect();
                write("kernel_page_tables.txt", (runs.join("\n") + "\n").as_bytes())?;
            }
            "dump/device-tree" => {
                let tree = device_tree(file).ok_or("the device tree's bytes cannot be read")?;
                write("machine.dtb", &tree)?;
            }
            "end" | "layout" | "page-tables" | "page-tables/runs" => {}
            name => write(&format!("{}.txt", name.replace('/', "_")), file.as_bytes())?,
        }
    }
    let bytes = std::fs::read(elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    let found = symbols(&bytes).ok_or_else(|| format!("{}: no symbols", elf.display()))?;
    let mut lines = Vec::new();
    for (ours, linux) in model.symbols {
        let at = found.iter().find(|(name, _)| name == ours).map(|(_, at)| at);
        let at = at.ok_or_else(|| format!("{}: no symbol {ours}", elf.display()))?;
        lines.push(format!("{at:016x} D {linux}\n"));
    }
    lines.sort();
    write("kernel_symbols.txt", lines.concat().as_bytes())?;
    files.retain(|(name, _)| !matches!(name.as_str(), "end" | "dump/device-tree"));
    Ok(files)
}
