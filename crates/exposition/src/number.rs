//! Numbers of samples, bounds and quantiles.

use crate::TextDialect;

/// Appends a sample, bound or quantile: `NaN`, `+Inf`, `-Inf`, `0.1`, `123456`, `1e+06`, `5e-324`. In OpenMetrics a number
/// has a point or an exponent: `123456.0`.
pub fn write_float(out: &mut Vec<u8>, v: f64, dialect: TextDialect) {
    // Negative zero is written as `0`, as Prometheus clients do.
    let start = out.len();
    otelcore_go_number::put_general(out, if v == 0.0 { 0.0 } else { v });
    if dialect == TextDialect::OpenMetrics
        && v.is_finite()
        && !out.get(start..).unwrap_or_default().iter().any(|b| matches!(b, b'.' | b'e'))
    {
        out.extend_from_slice(b".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_is_written_as_in_go_and_negative_zero_as_zero() {
        for (v, text, open_metrics) in [
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (-0.0, "0", "0.0"),
            (1.0, "1", "1.0"),
            (100_000.0, "100000", "100000.0"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06"),
        ] {
            let (mut out, mut open) = (Vec::new(), Vec::new());
            write_float(&mut out, v, TextDialect::Prometheus);
            write_float(&mut open, v, TextDialect::OpenMetrics);
            assert_eq!(
                (String::from_utf8(out).unwrap(), String::from_utf8(open).unwrap()),
                (text.into(), open_metrics.into())
            );
        }
    }
}
