//! Time codes: the names that film editors give to frames, such as `01:00:00:00` (SMPTE ST 12-1).

use impasto_video::Ratio;

/// The time code of the frame that shows `seconds` after the one with time code `first`; `None` if `first` is none.
///
/// Time codes count frames as if there were a whole number of them in a second. Where there are 30000/1001 or 60000/1001,
/// the form `01:00:00;00` leaves out two or four names at the start of each minute except every tenth, and so keeps to the
/// clock.
pub(super) fn time_code_after(first: &str, rate: Ratio, seconds: f64) -> Option<String> {
    let separator = first.chars().rev().find(|c| !c.is_ascii_digit())?;
    let drops = separator == ';' || separator == '.';
    let numbers: Option<Vec<i64>> = first.split([':', ';', '.']).map(|text| text.parse().ok()).collect();
    let [hours, minutes, seconds_of_minute, frame] = numbers?[..] else { return None };
    let per_second = rate.value().round().max(1.0) as i64;
    let dropped = if drops { 2 * (per_second / 30) } else { 0 };
    let (per_minute, per_ten_minutes) = (60 * per_second - dropped, 600 * per_second - 9 * dropped);
    let minute = 60 * hours + minutes;
    let named = (60 * minute + seconds_of_minute) * per_second + frame - dropped * (minute - minute / 10);
    let count = (named + (seconds * rate.value()).round() as i64).rem_euclid(144 * per_ten_minutes);
    // The first minute of ten has all its names.
    let (tens, rest) = (count / per_ten_minutes, count % per_ten_minutes);
    let minutes_dropped = (rest - dropped).max(0) / per_minute;
    let name = count + dropped * (9 * tens + minutes_dropped);
    let (second, frame) = (name / per_second, name % per_second);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{hour:02}:{minute:02}:{second:02}{separator}{frame:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_codes_count_frames_and_drop_names_where_they_should() {
        for (first, rate, seconds, expected) in [
            ("01:02:03:04", "25", 0.0, Some("01:02:03:04")),
            ("01:02:03:04", "25", 10.0, Some("01:02:13:04")),
            ("01:02:03:20", "25", 0.2, Some("01:02:04:00")),
            ("23:59:59:24", "25", 0.04, Some("00:00:00:00")),
            ("00:00:59;28", "30000/1001", 2.0 * 1.001 / 30.0, Some("00:01:00;02")),
            ("00:09:59;29", "30000/1001", 1.001 / 30.0, Some("00:10:00;00")),
            ("00:00:00;00", "30000/1001", 3600.0, Some("01:00:00;00")),
            ("00:00:00:00", "30000/1001", 3600.0, Some("00:59:56:12")),
            ("00:00:59;59", "60000/1001", 1.001 / 60.0, Some("00:01:00;04")),
            ("junk", "25", 0.0, None),
            ("1:2:3", "25", 0.0, None),
            ("", "25", 0.0, None),
        ] {
            let rate: Ratio = rate.parse().unwrap();
            assert_eq!(time_code_after(first, rate, seconds).as_deref(), expected, "{first} + {seconds}");
        }
    }
}
