use super::*;

#[test]
fn sysctl_files_hold_numbers() {
    assert_eq!(sysctl("256\t256\t32\t0\n").unwrap(), [256, 256, 32, 0]);
    assert_eq!(files::sysctl_number("45056\n").unwrap(), 45056);
    assert!(files::sysctl_number("1 2\n").is_err());
    assert!(sysctl("\n").is_err() && sysctl("many\n").is_err());
}

#[test]
fn lines_of_the_kernel_log_in_other_files_are_left_out() {
    let root = std::env::temp_dir().join(format!("pagewright-logged-{}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    let log = "[    2.291941] tsc: Refined TSC clocksource calibration: 2596.109 MHz\n";
    let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    write("dmesg.txt", log);
    write("sysctl_min_free_kbytes.txt", &format!("{log}45056\n{log}"));
    write("sysctl_watermark_scale_factor.txt", log);
    write("buddyinfo.txt", &format!("Node 0, zone      DMA      1 \n{log}Node 0, zone   Normal      2 \n"));
    let capture = Capture::read(&root).unwrap();
    assert_eq!(capture.min_free_kbytes, Some(45056));
    assert_eq!(capture.watermark_scale_factor, None);
    assert_eq!(capture.buddyinfo.unwrap().zones.len(), 2);
    assert_eq!(capture.dmesg, "tsc: Refined TSC clocksource calibration: 2596.109 MHz\n");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn cpu_lists_have_numbers_and_ranges() {
    assert_eq!(cpulist("0-2,8\n").unwrap(), [0, 1, 2, 8]);
    assert!(cpulist("\n").unwrap().is_empty());
    for bad in ["x", "3-1", "0-99999999", "1-"] {
        assert!(cpulist(bad).is_err(), "{bad}");
    }
}

#[test]
fn symbols_are_found_by_name() {
    let symbols = Symbols::parse("c0300000 T _stext\nc0e00000 D _etext\n").unwrap();
    assert_eq!(symbols.get("_stext"), Some(0xc030_0000));
    assert_eq!(symbols.any(&["_text", "_stext"]), Some(0xc030_0000));
    assert!(Symbols::parse("c0300000 T\n").is_err());
}

#[test]
fn a_directory_without_a_log_is_refused_by_name() {
    let fault = Capture::read(Path::new("/nonexistent/machine")).unwrap_err();
    assert!(fault.to_string().contains("/nonexistent/machine"), "{fault}");
}

#[test]
fn captures_are_found_in_a_folder_and_other_files_are_passed_over() {
    let root = std::env::temp_dir().join(format!("pagewright-find-{}", std::process::id()));
    fs::create_dir_all(root.join("b")).unwrap();
    fs::create_dir_all(root.join("a")).unwrap();
    for file in ["a/dmesg.txt", "b/dmesg.txt", "README.md"] {
        fs::write(root.join(file), "").unwrap();
    }
    let both = vec![root.join("a"), root.join("b")];
    assert_eq!(find(std::slice::from_ref(&root)).unwrap().captures, both);
    let named = find(&[root.join("a"), root.join("README.md"), root.join("b")]).unwrap();
    assert_eq!((named.captures, named.passed_over), (both, vec![root.join("README.md")]));
    assert!(find(&[root.join("README.md")]).is_err());
    assert!(find(&[root.join("c")]).is_err());
    fs::remove_dir_all(&root).unwrap();
}
