//! API versions: which one we speak with an engine.

use std::fmt;
use std::str::FromStr;

/// A version of the Docker Engine API, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

impl ApiVersion {
    /// The newest that our reading of replies was made for.
    pub const OURS: ApiVersion = ApiVersion::new(1, 53);
    /// Engine 20.10, the oldest that we support.
    pub const OLDEST: ApiVersion = ApiVersion::new(1, 41);
    /// From here on a bind in `Mounts` may create its source (moby 23.0).
    pub const CREATES_MOUNTPOINTS: ApiVersion = ApiVersion::new(1, 42);
    /// From here on a create call takes annotations (moby 24.0).
    pub const ANNOTATIONS: ApiVersion = ApiVersion::new(1, 43);
    /// From here on devices can be named as the Container Device Interface does, and a health check has
    /// an interval of its own while it starts (moby 25.0).
    pub const CDI: ApiVersion = ApiVersion::new(1, 44);
    /// From here on a create call takes several networks (moby 25.0).
    pub const SEVERAL_NETWORKS: ApiVersion = ApiVersion::new(1, 44);

    #[must_use]
    pub const fn new(major: u32, minor: u32) -> ApiVersion {
        ApiVersion { major, minor }
    }

    /// The lower of ours and the engine's newest.
    ///
    /// # Errors
    /// When there is none that both speak.
    pub(super) fn agree(newest: ApiVersion, oldest: Option<ApiVersion>) -> Result<ApiVersion, String> {
        if newest < ApiVersion::OLDEST {
            return Err(format!(
                "its newest API version is {newest}; at least {} (Docker 20.10) is needed",
                ApiVersion::OLDEST
            ));
        }
        let agreed = ApiVersion::OURS.min(newest);
        match oldest {
            Some(oldest) if agreed < oldest => Err(format!(
                "it speaks API version {oldest} or newer, this program at most {}",
                ApiVersion::OURS
            )),
            _ => Ok(agreed),
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<ApiVersion, String> {
        text.split_once('.')
            .and_then(|(major, minor)| Some(ApiVersion::new(major.parse().ok()?, minor.parse().ok()?)))
            .ok_or_else(|| format!("`{text}` is not an API version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ApiVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_lower_of_both_is_agreed_on() {
        let agree = |newest: &str, oldest: &str| ApiVersion::agree(version(newest), Some(version(oldest)));
        assert_eq!(agree("1.41", "1.12"), Ok(version("1.41")));
        assert_eq!(agree("1.99", "1.44"), Ok(ApiVersion::OURS));
        assert!(agree("1.99", "1.90").unwrap_err().contains("1.90 or newer"));
        assert!(agree("1.40", "1.12").unwrap_err().contains("at least 1.41"));
    }

    #[test]
    fn minor_versions_compare_as_numbers() {
        assert!(version("1.9") < version("1.41"));
        assert!("1".parse::<ApiVersion>().is_err());
    }
}
