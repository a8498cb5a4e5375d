//! Numbers of samples, bounds and quantiles.

/// Appends a sample, bound or quantile: `NaN`, `+Inf`, `-Inf`, `0.1`, `123456`, `1e+06`, `5e-324`.
pub fn write_float(out: &mut Vec<u8>, v: f64) {
    // Negative zero is written as `0`, as Prometheus clients do.
    otelcore_go_number::put_general(out, if v == 0.0 { 0.0 } else { v });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_is_written_as_in_go_and_negative_zero_as_zero() {
        for (v, expected) in [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (-0.0, "0"), (1_234_567.0, "1.234567e+06")] {
            let mut out = Vec::new();
            write_float(&mut out, v);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
