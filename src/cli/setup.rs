//! `maru setup onnx`: fetches the library that runs imported models, out of the Python package that brings it.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

use clap::{Arg, ArgMatches, Command, value_parser};
use maru_core::{Error, ErrorKind, Result, ResultExt};
use maru_ml::Library;

use super::options;
use crate::config::Config;

/// The version that Maru is tested with.
const ONNXRUNTIME: &str = "onnxruntime==1.32.0";

/// Takes the libraries out of a wheel, which is a zip file.
const UNPACK: &str = "\
import pathlib, sys, zipfile
wheel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
found = 0
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        last = name.rsplit('/', 1)[-1]
        if '/capi/' in name and (last.startswith('libonnxruntime') or last == 'onnxruntime.dll'):
            (folder / last).write_bytes(archive.read(name))
            found += 1
sys.exit(0 if found else 'there is no library of ONNX Runtime in ' + wheel)
";

pub(super) fn command() -> Command {
    let onnx = Command::new("onnx")
        .about("Fetch the library of ONNX Runtime, which runs imported models")
        .after_help(
            "Examples:\n  \
             maru setup onnx                               with pip, from the package index that it is set to\n  \
             maru setup onnx --wheel onnxruntime-….whl     from a file, on a machine without a network\n\n\
             The library goes to the folder onnx of the data directory. A running server takes it at the first use.\n\
             A library that is there already, such as one for a GPU, is named by onnxruntime_library instead.",
        )
        .arg(
            Arg::new("wheel")
                .long("wheel")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The Python package onnxruntime as a file, in the place of fetching it"),
        )
        .arg(
            Arg::new("python")
                .long("python")
                .value_name("PROGRAM")
                .default_value("python3")
                .help("The Python that fetches and unpacks, with pip"),
        );
    let command = Command::new("setup")
        .about("Fetch what is no part of the program")
        .subcommand_required(true)
        .arg_required_else_help(true);
    command.subcommand(options::with_settings(onnx, false))
}

pub(super) fn run(config: &Config, matches: &ArgMatches) -> Result<ExitCode> {
    let Some(("onnx", matches)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    let python = matches.get_one::<String>("python").map_or("python3", String::as_str);
    let wheel = matches.get_one::<PathBuf>("wheel");
    let folder = config.data_dir.join("onnx");
    let work = config.data_dir.join("onnx.unfinished");
    let io = |path: &Path| format!("could not write to {}", path.display());
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).or_error(ErrorKind::Io, || io(&work))?;
    let done = fetch(python, wheel.map(PathBuf::as_path), &work);
    let done = done.and_then(|()| {
        // What is there is replaced only when the new one is whole.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&work, &folder).or_error(ErrorKind::Io, || io(&folder))
    });
    let _ = std::fs::remove_dir_all(&work);
    done?;
    let says = Library::new(None, folder.clone()).describe()?;
    println!("ONNX Runtime is installed in {}: {says}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn fetch(python: &str, wheel: Option<&Path>, folder: &Path) -> Result<()> {
    let wheel = match wheel {
        Some(wheel) => wheel.to_path_buf(),
        None => {
            let pip = [
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
            ];
            let mut process = Process::new(python);
            process.args(pip).arg("--dest").arg(folder).arg(ONNXRUNTIME);
            ended(python, process, "fetch the Python package onnxruntime")?;
            let listing = std::fs::read_dir(folder).map(|listing| {
                listing
                    .flatten()
                    .map(|entry| entry.path())
                    .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            });
            listing
                .ok()
                .flatten()
                .ok_or_else(|| Error::new(ErrorKind::FileNotFound, "pip fetched no package"))?
        }
    };
    let mut process = Process::new(python);
    process.args(["-c", UNPACK]).arg(&wheel).arg(folder);
    ended(python, process, "unpack the Python package onnxruntime")?;
    if wheel.starts_with(folder) {
        let _ = std::fs::remove_file(&wheel);
    }
    Ok(())
}

fn ended(python: &str, mut process: Process, what: &str) -> Result<()> {
    let failed = || Error::new(ErrorKind::Io, format!("could not {what}"));
    let output = process.output().map_err(|cause| {
        failed().with_cause(cause).with_hint(format!(
            "It takes {python} with pip; --python names another one, --wheel a file at hand."
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(failed()
        .with_detail(format!("{python} says: {}", last.trim()))
        .with_hint("--wheel FILE takes a package that was fetched elsewhere."))
}
