//! Where the kernel image lies: `/proc/iomem` has the physical ranges, the symbols tell sections apart.

use super::super::Capture;
use crate::fault::Fault;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::dmesg::{Line, classify};
use pagewright_firmware::{Arch, Arm64Image, I386Image, KernelImage, X86Image};
use pagewright_kspace::{Facts, Fixmap, I386Areas, Slot};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// The image of the captured kernel.
pub(super) fn image(capture: &Capture, arch: Arch, config: &KernelConfig) -> Result<KernelImage, Fault> {
    let find = |name: &str| {
        let resource = capture.iomem.as_ref().and_then(|io| io.named(name).next());
        resource.map(|r| super::inclusive(r.start, r.last))
    };
    let code = find("Kernel code").filter(|r| r.start.get() != 0);
    let data = find("Kernel data");
    let (Some(code), Some(data)) = (code, data) else {
        let place = capture.dir.join("iomem.txt");
        let expected = "`Kernel code` and `Kernel data` with their addresses (read as root)";
        return Err(Fault::missing(
            "where the kernel image lies is not told",
            place.display().to_string(),
            expected,
        ));
    };
    let parts = Parts { capture, code, data };
    let mut image = match arch {
        Arch::Arm64 => parts.arm64(config),
        Arch::Arm => parts.arm(),
        Arch::X86_64 | Arch::I386 => {
            return Ok(parts.x86(config, find("Kernel rodata"), find("Kernel bss")));
        }
    };
    sections(&capture.dmesg, &mut image);
    parts.exact(&mut image);
    Ok(image)
}

/// Where data ends and bss begins, and where read-only data ends, is told on arm and arm64 by the kernel's own list of
/// its sections only: `Memory: ... (11264K kernel code, 1700K rwdata, 3732K rodata, 2048K init, 377K bss, ...)`.
fn sections(dmesg: &str, image: &mut KernelImage) {
    let bytes = |name: &str| section_bytes(dmesg, name);
    if let Some(len) = bytes("rwdata") {
        image.data_end = image.data_start.saturating_add(len).min(image.end);
    }
    if let Some(len) = bytes("bss") {
        image.bss_start = image.bss_end.saturating_sub(len).max(image.data_end);
    }
    if let Some(len) = bytes("rodata") {
        image.rodata_end = image.rodata_start.saturating_add(len).min(image.init_begin);
    }
}

/// The length of one section in the kernel's own list.
fn section_bytes(dmesg: &str, name: &str) -> Option<u64> {
    let line = dmesg.lines().map(crate::facts::body).find(|l| l.starts_with("Memory: "))?;
    let (_, list) = line.split_once('(')?;
    let kib: u64 = list.split(", ").find_map(|s| s.strip_suffix(name)?.strip_suffix("K ")?.parse().ok())?;
    kib.checked_mul(1024)
}

/// How much the kernel says to have freed of something.
fn freed_bytes(dmesg: &str, what: &str) -> Option<u64> {
    let amount = |line| {
        let kib = crate::facts::body(line).strip_prefix("Freeing ")?.strip_prefix(what)?;
        kib.strip_prefix(" memory: ")?.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
    };
    dmesg.lines().find_map(amount)
}

struct Parts<'a> {
    capture: &'a Capture,
    code: PhysRange,
    data: PhysRange,
}

impl Parts<'_> {
    fn symbol(&self, names: &[&str]) -> Option<u64> {
        self.capture.symbols.as_ref()?.any(names)
    }

    /// Physical addresses of symbols, when `phys` is the physical address of the virtual address `virt`.
    fn translate(&self, virt: u64, phys: PhysAddr) -> impl Fn(&[&str]) -> Option<PhysAddr> + '_ {
        let offset = phys.get().wrapping_sub(virt);
        move |names| self.symbol(names).map(|v| PhysAddr::new(v.wrapping_add(offset)))
    }

    /// Where sections end, to the byte, if their own symbols are among those captured.
    fn exact(&self, image: &mut KernelImage) {
        let phys = self.symbol(&["_sdata"]).map(|virt| self.translate(virt, self.data.start));
        let Some(phys) = phys else { return };
        let set = |name, field: &mut PhysAddr| *field = phys(&[name]).unwrap_or(*field);
        set("__start_rodata", &mut image.rodata_start);
        set("__end_rodata", &mut image.rodata_end);
        set("_edata", &mut image.data_end);
        set("__bss_start", &mut image.bss_start);
        set("__bss_stop", &mut image.bss_end);
    }

    /// `Kernel code` is `_stext` up to `__init_begin`, `Kernel data` `_sdata` up to `_end`.
    fn arm64(&self, config: &KernelConfig) -> KernelImage {
        let (code, data) = (self.code, self.data);
        // The image is loaded at a multiple of 2 MiB; its header, padded to a segment, comes before the text.
        let head_len = code.start.get() % (2 * MIB);
        let base = (128 * MIB).wrapping_sub(1 << (config.va_bits.clamp(1, 48) - 1));
        let virt = self.symbol(&["_stext"]).unwrap_or(base + head_len);
        let phys = self.translate(virt, code.start);
        let init_begin = phys(&["__init_begin", "__inittext_begin", "_sinittext"]).unwrap_or(code.end);
        let inittext_end = phys(&["__inittext_end"]).or_else(|| self.init_text_end(init_begin));
        // Exit text and the table of alternatives come between _einittext and the end; how long they are nothing tells.
        let init_text = phys(&["_einittext"]).unwrap_or(init_begin).align_up(16 * PAGE);
        let as_debian = init_begin.saturating_add(crate::machine::init_text_bytes(config));
        let tables =
            crate::machine::init_tables(virt, virt.wrapping_add(data.end.get() - code.start.get()), config);
        KernelImage {
            text_start: code.start,
            text_end: phys(&["_etext"]).unwrap_or(init_begin),
            rodata_start: phys(&["_etext"]).unwrap_or(init_begin),
            rodata_end: init_begin,
            init_begin,
            inittext_end: inittext_end.unwrap_or(init_text.max(as_debian)).min(data.start),
            init_end: data.start,
            data_start: data.start,
            data_end: data.end,
            bss_start: data.end,
            bss_end: data.end,
            end: data.end,
            virt,
            init_pg_dir: phys(&["init_pg_dir"]).zip(phys(&["init_pg_end"])).map_or(
                PhysRange::new(data.end.saturating_sub(tables * config.page_shift.bytes()), data.end),
                |(start, end)| PhysRange::new(start, end),
            ),
            idmap_text: range(phys(&["__idmap_text_start"]), phys(&["__idmap_text_end"])),
            head_len,
            arm64: self.arm64_tables(config, &phys),
            ..KernelImage::default()
        }
    }

    /// Where arm64's init text ends: it is an area of its own in `vmallocinfo`.
    fn init_text_end(&self, init_begin: PhysAddr) -> Option<PhysAddr> {
        let mut segments = self.capture.vmallocinfo.as_ref()?.of("paging_init");
        let segment = segments.find(|area| area.phys == Some(init_begin.get()))?;
        init_begin.checked_add(segment.size)
    }

    /// Where the image has its page tables, by symbols; and the code that is mapped while user code runs, which is what its
    /// fixed addresses map.
    fn arm64_tables(&self, config: &KernelConfig, phys: &dyn Fn(&[&str]) -> Option<PhysAddr>) -> Arm64Image {
        let fixmap = Fixmap::of(&Facts::new(*config)).ok();
        let first = fixmap.and_then(|f| f.address(Slot::EntryTrampText1));
        let mut runs = self.capture.page_tables.iter().flat_map(|t| &t.runs);
        let text = first.and_then(|first| runs.find(|r| r.range.start == first));
        let at = |name| phys(&[name]).unwrap_or_default();
        Arm64Image {
            idmap_pg_dir: at("idmap_pg_dir"),
            tramp_pg_dir: at("tramp_pg_dir"),
            swapper_pg_dir: at("swapper_pg_dir"),
            init_idmap_pg_dir: range(phys(&["init_idmap_pg_dir"]), phys(&["init_idmap_pg_end"])),
            bm_pte: at("bm_pte"),
            bm_pmd: at("bm_pmd"),
            bm_pud: at("bm_pud"),
            entry_tramp_text: text.map(|r| PhysRange::from_len(r.phys, r.range.len)).unwrap_or_default(),
            vectors: at("vectors"),
        }
    }

    /// `Kernel code` is `_text` up to `__init_begin`, `Kernel data` `_sdata` up to `_end`; `_stext` comes after the
    /// initial code of the head.
    fn arm(&self) -> KernelImage {
        let (code, data) = (self.code, self.data);
        // Init text starts on a page of its own right after the code.
        let init_virt = self.symbol(&["__init_begin", "_sinittext"]).map(|v| v & !(PAGE - 1));
        let phys = self.translate(init_virt.unwrap_or(0), code.end);
        let known = |names: &[&str]| init_virt.and_then(|_| phys(names));
        let text_start = known(&["_stext"]).unwrap_or(code.start.align_up(MIB));
        KernelImage {
            text_start,
            text_end: known(&["_etext"]).unwrap_or(code.end),
            rodata_start: known(&["_etext"]).unwrap_or(code.end),
            rodata_end: code.end,
            init_begin: code.end,
            inittext_end: known(&["_einittext"]).unwrap_or(code.end),
            init_end: data.start,
            data_start: data.start,
            data_end: data.end,
            bss_start: data.end,
            bss_end: data.end,
            end: data.end,
            idmap_text: range(known(&["__idmap_text_start"]), known(&["__idmap_text_end"])),
            head_len: text_start.get() - code.start.get().min(text_start.get()),
            ..KernelImage::default()
        }
    }

    /// Each section has a line of its own; the brk area follows the image.
    ///
    /// The table of lock prefixes follows the init sections; the unused decrypted data ends with bss. How long they are
    /// the log says when it frees them; else they are taken to be those of Debian's kernel.
    fn x86(&self, config: &KernelConfig, rodata: Option<PhysRange>, bss: Option<PhysRange>) -> KernelImage {
        let (code, data) = (self.code, self.data);
        let bss = bss.unwrap_or(PhysRange::new(data.end, data.end));
        let phys = self.translate(self.symbol(&["_text", "_stext"]).unwrap_or(0), code.start);
        let known = |names: &[&str]| self.symbol(names).and_then(|_| phys(names));
        let init_begin = known(&["__init_begin"]).unwrap_or(data.end.align_up(PAGE));
        let end = known(&["__end_of_kernel_reserve"]).unwrap_or(bss.end.align_up(PAGE));
        let dmesg = &self.capture.dmesg;
        let init_len = section_bytes(dmesg, "init").map(|len| init_begin.saturating_add(len));
        let init_end = known(&["__init_end"]).or(init_len).unwrap_or(bss.start).min(bss.start);
        let (locks, unused) = crate::machine::late_parts(config);
        let locks = freed_bytes(dmesg, "SMP alternatives").unwrap_or(locks);
        let unused = freed_bytes(dmesg, "unused decrypted").unwrap_or(unused);
        let locks_start = known(&["__smp_locks"]).unwrap_or(init_end);
        KernelImage {
            text_start: code.start,
            text_end: code.end,
            rodata_start: rodata.map_or(code.end, |r| r.start),
            rodata_end: rodata.map_or(data.start, |r| r.end),
            init_begin,
            inittext_end: known(&["_einittext"]).unwrap_or(init_begin),
            init_end,
            data_start: data.start,
            data_end: data.end,
            bss_start: bss.start,
            bss_end: bss.end,
            end,
            brk_used: brk_used(dmesg, end),
            smp_locks: PhysRange::new(locks_start, locks_start.saturating_add(locks).min(bss.start)),
            decrypted_unused: PhysRange::new(bss.end.saturating_sub(unused).max(bss.start), bss.end),
            x86: self.x86_tables(config, &known),
            i386: if config.is_64bit() { I386Image::default() } else { i386_tables(&known) },
            ..KernelImage::default()
        }
    }

    /// Where the image has its page tables, by symbols; and its IDT, which no symbol tells, but which is what the first page
    /// of the CPU entry areas maps.
    fn x86_tables(&self, config: &KernelConfig, known: &dyn Fn(&[&str]) -> Option<PhysAddr>) -> X86Image {
        // CPU_ENTRY_AREA_RO_IDT.
        let i386 = || Some(I386Areas::of(config, &Fixmap::of(&Facts::new(*config)).ok()?).cpu_entry_area);
        let area = if config.is_64bit() { Some(0xffff_fe00_0000_0000) } else { i386() };
        let runs = self.capture.page_tables.iter().flat_map(|t| &t.runs);
        let idt = runs.into_iter().find(|r| Some(r.range.start.get()) == area).map(|r| r.phys);
        let at = |name| known(&[name]).unwrap_or_default();
        X86Image {
            early_top_pgt: at("early_top_pgt"),
            early_dynamic_pgts: at("early_dynamic_pgts"),
            init_top_pgt: at("init_top_pgt"),
            level3_kernel_pgt: at("level3_kernel_pgt"),
            level2_kernel_pgt: at("level2_kernel_pgt"),
            level2_fixmap_pgt: at("level2_fixmap_pgt"),
            level1_fixmap_pgt: at("level1_fixmap_pgt"),
            idt_table: idt.unwrap_or_default(),
        }
    }
}

/// The same of an i386 image.
fn i386_tables(known: &dyn Fn(&[&str]) -> Option<PhysAddr>) -> I386Image {
    let at = |name| known(&[name]).unwrap_or_default();
    I386Image {
        initial_page_table: at("initial_page_table"),
        initial_pg_pmd: at("initial_pg_pmd"),
        initial_pg_fixmap: at("initial_pg_fixmap"),
        swapper_pg_dir: at("swapper_pg_dir"),
        bm_pte: at("bm_pte"),
    }
}

/// The brk area's use is a property of the kernel build: how much its early code takes. The kernel reserves it in
/// one call, right behind the image.
fn brk_used(dmesg: &str, image_end: PhysAddr) -> u64 {
    let used = dmesg.lines().find_map(|line| match classify(line) {
        Line::MemblockReserve { range, caller: "setup_arch" } if range.start == image_end => {
            Some(range.len())
        }
        _ => None,
    });
    used.unwrap_or(0)
}

fn range(start: Option<PhysAddr>, end: Option<PhysAddr>) -> PhysRange {
    start.zip(end).map(|(s, e)| PhysRange::new(s, e)).unwrap_or_default()
}
