//! What a program says of itself.

use std::fmt;

/// Processors that tasks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit ARM; in AWS Graviton.
    Arm64,
    /// 64-bit Intel and AMD.
    X86_64,
}

impl Architecture {
    /// Each.
    pub const ALL: [Self; 2] = [Self::Arm64, Self::X86_64];

    /// Its name in AWS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }

    /// The one of this name in AWS.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Its name in images.
    pub(super) fn oci(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "amd64",
        }
    }

    /// The machine in the header of its programs.
    fn machine(self) -> u16 {
        match self {
            Self::Arm64 => 183,
            Self::X86_64 => 62,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program that would not run in an image that has nothing else.
#[derive(Debug, thiserror::Error)]
#[error("{program} for {architecture}: it {why}")]
pub struct NotTaken {
    program: &'static str,
    architecture: Architecture,
    why: &'static str,
}

/// Whether this is a program for these processors that needs nothing but a Linux kernel.
pub(super) fn check(program: &'static str, bytes: &[u8], architecture: Architecture) -> Result<(), NotTaken> {
    let refuse = |why| Err(NotTaken { program, architecture, why });
    match needs(bytes) {
        None => refuse("is no 64-bit Linux program"),
        Some((machine, _)) if machine != architecture.machine() => refuse("is a program for other processors"),
        Some((_, true)) => refuse("is not linked statically, and the image has no library"),
        Some((_, false)) => Ok(()),
    }
}

/// The machine of a 64-bit Linux program, and whether another program has to load it.
fn needs(program: &[u8]) -> Option<(u16, bool)> {
    const INTERPRETER: u32 = 3;
    program.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let u16_at = |at| array_at(program, at).map(u16::from_le_bytes);
    let headers = usize::try_from(u64::from_le_bytes(array_at(program, 32)?)).ok()?;
    let (size, count) = (u16_at(54)?, u16_at(56)?);
    let mut interpreted = false;
    for index in 0..usize::from(count) {
        let header = headers.checked_add(index * usize::from(size))?;
        interpreted |= u32::from_le_bytes(array_at(program, header)?) == INTERPRETER;
    }
    Some((u16_at(18)?, interpreted))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The header of a 64-bit program with one program header of this type.
    pub(in super::super) fn header(architecture: Architecture, kind: u32) -> Vec<u8> {
        let mut header = vec![0; 64 + 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18..20].copy_from_slice(&architecture.machine().to_le_bytes());
        header[32..40].copy_from_slice(&64_u64.to_le_bytes());
        header[54..56].copy_from_slice(&56_u16.to_le_bytes());
        header[56..58].copy_from_slice(&1_u16.to_le_bytes());
        header[64..68].copy_from_slice(&kind.to_le_bytes());
        header
    }

    #[test]
    fn what_is_cut_off_is_no_program() {
        let whole = header(Architecture::Arm64, 1);
        assert_eq!(needs(&whole), Some((183, false)));
        for length in 0..68 {
            assert_eq!(needs(&whole[..length]), None, "{length}");
        }
        let mut beyond = whole;
        beyond[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(needs(&beyond), None);
    }
}
