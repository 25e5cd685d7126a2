//! The shared library of ONNX Runtime: no part of the program, loaded when a model first needs it, once for the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use parking_lot::Mutex;

/// What may compute, by the name that an option gives it.
pub const PROVIDERS: &[&str] = &["cpu", "cuda", "tensorrt", "openvino", "coreml"];

/// Kept for as long as the process lives: a second one cannot be made.
static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

/// Where the library is looked for.
#[derive(Debug, Clone)]
pub struct Library {
    /// A file that was named: nothing else is tried.
    named: Option<PathBuf>,
    folder: PathBuf,
}

impl Library {
    /// `named` is the file itself; without it, it is the one in `folder`.
    pub fn new(named: Option<PathBuf>, folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { named, folder })
    }

    /// Loads the library, unless that is done, and returns what it says of itself.
    ///
    /// # Errors
    /// As a model that needs it.
    pub fn describe(&self) -> Result<&'static str> {
        self.environment().map(|_| ort::info())
    }

    /// Returns the file in a folder, as the Python package calls it: the name with its version behind.
    fn file(folder: &Path) -> Option<PathBuf> {
        let listing = std::fs::read_dir(folder).ok()?;
        let names = listing.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| {
                name.starts_with("libonnxruntime.") || name.eq_ignore_ascii_case("onnxruntime.dll")
            })
        });
        names.max()
    }

    /// Loads the library, unless that is done.
    ///
    /// # Errors
    /// 58P01 where there is none, with the hint that fetches it; 55000 for one that cannot be used.
    pub(crate) fn environment(&self) -> Result<Environment> {
        let mut loaded = LOADED.lock();
        if let Some(environment) = loaded.as_ref() {
            return Ok(environment.clone());
        }
        let place = match &self.named {
            Some(file) => Some(file.clone()).filter(|file| file.is_file()),
            None => Self::file(&self.folder),
        };
        let place = place.ok_or_else(|| {
            let looked = self.named.as_ref().unwrap_or(&self.folder);
            Error::new(ErrorKind::FileNotFound, "ONNX Runtime is not installed")
                .with_detail(format!("Its library was looked for in {}.", looked.display()))
                .with_hint("\"maru setup onnx\" fetches it; onnxruntime_library names one that is there already.")
        })?;
        let place = place.canonicalize().unwrap_or(place);
        let unusable = |cause: String| {
            Error::new(
                ErrorKind::WrongState,
                format!("could not load ONNX Runtime from {}", place.display()),
            )
            .with_detail(cause)
            .with_hint("\"maru setup onnx\" fetches a version that fits.")
        };
        let builder = ort::init_from(&place).map_err(|error| unusable(error.to_string()))?;
        let environment = builder
            .with_name("maru")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        tracing::info!(library = %place.display(), "loaded ONNX Runtime");
        Ok(loaded.insert(environment).clone())
    }
}

/// Returns what registers a provider; `None` for the processor, which is always there.
///
/// # Errors
/// 22023 for a name that is none, 0A000 for one that the library was not built with.
pub(crate) fn provider(name: &str) -> Result<Option<ExecutionProviderDispatch>> {
    fn there<P: ExecutionProvider>() -> bool {
        P::is_available().unwrap_or(false)
    }
    let (there, dispatch) = match name {
        "cpu" => return Ok(None),
        // Without the shortened numbers that it multiplies by default: the third digit of a result would be its own.
        "cuda" => (there::<ep::CUDA>(), ep::CUDA::default().with_tf32(false).build()),
        "tensorrt" => (there::<ep::TensorRT>(), ep::TensorRT::default().build()),
        "openvino" => (there::<ep::OpenVINO>(), ep::OpenVINO::default().build()),
        "coreml" => (there::<ep::CoreML>(), ep::CoreML::default().build()),
        other => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("unknown execution_provider '{other}'"),
            )
            .with_detail(format!("There are {}.", PROVIDERS.join(", "))));
        }
    };
    match there {
        true => Ok(Some(dispatch.error_on_failure())),
        false => {
            Err(missing(name).with_detail("The library of ONNX Runtime was built without it."))
        }
    }
}

pub(crate) fn missing(name: &str) -> Error {
    Error::unsupported(format!("ONNX Runtime has no execution provider '{name}' here"))
        .with_hint("Use 'cpu', or name a library that has it with onnxruntime_library.")
}
