//! From a backend's name in the run file to a burn device.
//!
//! Since burn 0.22 backend, dtype and autodiff live in a tensor's device, so one compiled loop
//! serves every backend. Which ones a binary holds is decided by cargo features of the same names.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where tensors are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// CPU, pure Rust: the default.
    #[default]
    Flex,
    /// CPU by way of `ndarray`, which burn is about to drop.
    Ndarray,
    /// Any GPU that `wgpu` finds, shaders in WGSL.
    Wgpu,
    /// Vulkan, shaders in SPIR-V.
    Vulkan,
    /// Apple's Metal.
    Metal,
    /// NVIDIA's CUDA.
    Cuda,
}

impl Backend {
    /// All backends, compiled in or not.
    pub const ALL: [Self; 6] = [
        Self::Flex,
        Self::Ndarray,
        Self::Wgpu,
        Self::Vulkan,
        Self::Metal,
        Self::Cuda,
    ];

    /// Name in the run file, which is also the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
        }
    }

    /// The first device of this backend.
    ///
    /// # Errors
    /// [`Error::BackendMissing`], which names the cargo feature to enable.
    pub fn device(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(
                deprecated,
                reason = "burn 0.23 drops it; until then, a second CPU backend"
            )]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(Default::default())),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::vulkan(Default::default())),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(Default::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            // With every feature on, no backend is left for this arm.
            #[cfg(not(all(
                feature = "flex",
                feature = "ndarray",
                feature = "wgpu",
                feature = "vulkan",
                feature = "metal",
                feature = "cuda"
            )))]
            missing => Err(Error::BackendMissing {
                name: missing.name(),
            }),
        }
    }
}
