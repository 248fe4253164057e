//! Settings as people write them: sizes, times, addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// `50 GiB`, `1.5GB`, `1048576`: bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let refuse = || format!("`{text}` is not a size: write one such as `500 MB` or `50 GiB`");
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        _ => return Err(refuse()),
    };
    let bytes = number * factor as f64;
    if !(1.0..=1e18).contains(&bytes) {
        return Err(refuse());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above"
    )]
    Ok(bytes as u64)
}

/// `7d`, `1.5 h`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a time: write one such as `30s`, `12h` or `7d`");
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => 0.001,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return Err(refuse()),
    };
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(time) if !time.is_zero() && time.as_secs() < 100 * 366 * 86_400 => Ok(time),
        _ => Err(refuse()),
    }
}

/// A time, or `none`.
pub(crate) fn duration_or_none(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "none" => Ok(None),
        text => duration(text)
            .map(Some)
            .map_err(|refusal| format!("{refusal}, or `none`")),
    }
}

/// A window's length in milliseconds. A bare number is seconds.
pub(crate) fn window(text: &str) -> Result<u32, String> {
    let window = match split(text) {
        Some((_, "")) => duration(&format!("{text}s")),
        _ => duration(text),
    };
    let window = window.map_err(|_not_a_time| {
        format!("`{text}` is not a time: write one such as `10s` or `1m`")
    })?;
    match u32::try_from(window.as_millis()) {
        Ok(ms @ 100..=86_400_000) => Ok(ms),
        _ => Err(format!("`{text}` is not between 100ms and 24h")),
    }
}

/// A window's length in milliseconds, or `auto`.
pub(crate) fn window_or_auto(text: &str) -> Result<Option<u32>, String> {
    match text {
        "auto" => Ok(None),
        text => window(text)
            .map(Some)
            .map_err(|refusal| format!("{refusal}, or `auto`")),
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port
            .parse()
            .ok()
            .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| {
        format!("`{text}` is not an address: write one such as `127.0.0.1:8080`, or `0.0.0.0:8080` for every interface")
    })
}

/// A whole number from 1.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is not a whole number from 1 to 1000000")),
    }
}

/// Millions or thousands of millions of pixels.
pub(crate) fn pixels(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (1..=1_000_000_000).contains(&number) => Ok(number),
        _ => Err(format!(
            "`{text}` is not a whole number from 1 to 1000000000"
        )),
    }
}

/// A number of slots; `auto` is one for each core.
pub(crate) fn slots(text: &str) -> Result<u32, String> {
    if text == "auto" {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        return Ok(u32::try_from(cores).unwrap_or(1));
    }
    match text.parse() {
        Ok(number) if (1..=1024).contains(&number) => Ok(number),
        _ => Err(format!(
            "`{text}` is not a whole number from 1 to 1024, nor `auto`"
        )),
    }
}

/// `yes` or `no`.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{text}` is neither `yes` nor `no`")),
    }
}

/// Words with commas between.
pub(crate) fn list(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A number that is not negative, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        assert_eq!(size("50 GiB"), Ok(50 << 30));
        assert_eq!(size("1.5GB"), Ok(1_500_000_000));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("2k"), Ok(2048));
        for wrong in [
            "",
            "many",
            "-1 GB",
            "0",
            "5 XB",
            "GB",
            "1.2.3 MB",
            "9999999 TiB",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_written() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("1.5 h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration_or_none("none"), Ok(None));
        assert_eq!(window_or_auto("auto"), Ok(None));
        assert_eq!(window_or_auto("4s"), Ok(Some(4_000)));
        for (text, ms) in [
            ("10s", 10_000),
            ("10", 10_000),
            ("0.5", 500),
            ("1m", 60_000),
            ("250ms", 250),
        ] {
            assert_eq!(window(text), Ok(ms), "{text}");
            assert_eq!(window_or_auto(text), Ok(Some(ms)), "{text}");
        }
        for wrong in ["none", "10ms", "25h", "0", "-1", ""] {
            assert!(window(wrong).is_err(), "{wrong}");
            assert!(
                window_or_auto(wrong).unwrap_err().ends_with(", or `auto`"),
                "{wrong}"
            );
        }
        for wrong in ["", "7", "soon", "-1s", "0s", "5 fortnights", "99999 w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_read_as_written() {
        assert_eq!(address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("[::1]:0").unwrap().to_string(), "[::1]:0");
        for wrong in ["8080", ":8080", "localhost", "localhost:http", "1.2.3.4"] {
            assert!(
                address(wrong).unwrap_err().contains("0.0.0.0:8080"),
                "{wrong}"
            );
        }
    }
}
