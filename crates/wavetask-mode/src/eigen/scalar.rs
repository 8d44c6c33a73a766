//! The four kinds of numbers that the eigensolver computes with.
//!
//! A lossless waveguide without absorbers has a real matrix, and real arithmetic does a quarter of the work. The
//! factors may be kept in half the precision, because the eigenpairs are corrected with residuals of full precision
//! afterwards (see [`super::solve`]). One trait keeps factorisation and iteration a single text.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use matrixmultiply::CGemmOption;
use num_complex::Complex;

/// A real or complex floating point number.
pub trait Scalar:
    Copy
    + Debug
    + Default
    + PartialEq
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// The same kind of number in single precision.
    type Low: Scalar;
    /// Whether the imaginary part is kept.
    const COMPLEX: bool;
    /// The unit roundoff's double.
    const EPSILON: f64;
    /// One.
    const ONE: Self;

    /// The complex conjugate.
    fn conjugate(self) -> Self;
    /// The magnitude.
    fn magnitude(self) -> f64;
    /// The reciprocal.
    fn reciprocal(self) -> Self;
    /// This number times a real one.
    fn scaled(self, factor: f64) -> Self;
    /// The number in double precision.
    fn widen(self) -> Complex<f64>;
    /// The nearest number of this kind; a real kind drops the imaginary part.
    fn narrow(value: Complex<f64>) -> Self;
    /// The number in single precision.
    fn lower(self) -> Self::Low;
    /// The number of this kind that equals one in single precision.
    fn raise(low: Self::Low) -> Self;
    /// `c ← c - a b` for views into dense matrices.
    fn subtract_product(a: View<'_, Self>, b: View<'_, Self>, c: ViewMut<'_, Self>);
}

/// A dense matrix inside a slice: element `(i, j)` is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance of an element from the one below it.
    pub row_stride: usize,
    /// Distance of an element from the one to its right.
    pub column_stride: usize,
}

/// As [`View`], to be written.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    /// The elements.
    pub data: &'a mut [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance of an element from the one below it.
    pub row_stride: usize,
    /// Distance of an element from the one to its right.
    pub column_stride: usize,
}

/// Whether every element of a matrix of this shape lies within `length` elements.
fn fits(length: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row_stride + (columns - 1) * column_stride < length
}

/// Panics unless the three matrices can be multiplied and lie within their slices.
fn check<T>(a: &View<'_, T>, b: &View<'_, T>, c: &ViewMut<'_, T>) {
    assert!(a.rows == c.rows && a.columns == b.rows && b.columns == c.columns, "shapes of a product");
    assert!(fits(a.data.len(), a.rows, a.columns, a.row_stride, a.column_stride), "left factor");
    assert!(fits(b.data.len(), b.rows, b.columns, b.row_stride, b.column_stride), "right factor");
    assert!(fits(c.data.len(), c.rows, c.columns, c.row_stride, c.column_stride), "product");
}

/// [`Scalar::subtract_product`] by a product of `matrixmultiply`, called with `$options` first and `$minus` and `$one`
/// as its factors.
macro_rules! subtract_product {
    ($product:path, [$($options:expr),*], $minus:expr, $one:expr) => {
        fn subtract_product(a: View<'_, Self>, b: View<'_, Self>, c: ViewMut<'_, Self>) {
            check(&a, &b, &c);
            if c.rows == 0 || c.columns == 0 || a.columns == 0 {
                return;
            }
            // SAFETY: `check` has shown that every element addressed lies within its slice, and the exclusive borrow of
            // `c` keeps it apart from `a` and `b`. `Complex` is `repr(C)` with two fields of one type, which is the
            // layout of the array of two that stands for it here; real numbers are cast to what they are.
            unsafe {
                $product(
                    $($options,)*
                    c.rows,
                    a.columns,
                    c.columns,
                    $minus,
                    a.data.as_ptr().cast(),
                    a.row_stride as isize,
                    a.column_stride as isize,
                    b.data.as_ptr().cast(),
                    b.row_stride as isize,
                    b.column_stride as isize,
                    $one,
                    c.data.as_mut_ptr().cast(),
                    c.row_stride as isize,
                    c.column_stride as isize,
                );
            }
        }
    };
}

macro_rules! real_scalar {
    ($real:ty, $product:path) => {
        impl Scalar for $real {
            type Low = f32;
            const COMPLEX: bool = false;
            const EPSILON: f64 = <$real>::EPSILON as f64;
            const ONE: Self = 1.0;

            fn conjugate(self) -> Self {
                self
            }
            fn magnitude(self) -> f64 {
                f64::from(self.abs())
            }
            fn reciprocal(self) -> Self {
                self.recip()
            }
            fn scaled(self, factor: f64) -> Self {
                self * factor as $real
            }
            fn widen(self) -> Complex<f64> {
                Complex::new(f64::from(self), 0.0)
            }
            fn narrow(value: Complex<f64>) -> Self {
                value.re as $real
            }
            fn lower(self) -> f32 {
                self as f32
            }
            fn raise(low: f32) -> Self {
                Self::from(low)
            }
            subtract_product!($product, [], -1.0, 1.0);
        }
    };
}

macro_rules! complex_scalar {
    ($real:ty, $product:path) => {
        impl Scalar for Complex<$real> {
            type Low = Complex<f32>;
            const COMPLEX: bool = true;
            const EPSILON: f64 = <$real>::EPSILON as f64;
            const ONE: Self = Complex { re: 1.0, im: 0.0 };

            fn conjugate(self) -> Self {
                self.conj()
            }
            fn magnitude(self) -> f64 {
                f64::from(self.re).hypot(f64::from(self.im))
            }
            fn reciprocal(self) -> Self {
                Self::narrow(self.widen().inv())
            }
            fn scaled(self, factor: f64) -> Self {
                self * factor as $real
            }
            fn widen(self) -> Complex<f64> {
                Complex::new(f64::from(self.re), f64::from(self.im))
            }
            fn narrow(value: Complex<f64>) -> Self {
                Complex::new(value.re as $real, value.im as $real)
            }
            fn lower(self) -> Complex<f32> {
                Complex::new(self.re as f32, self.im as f32)
            }
            fn raise(low: Complex<f32>) -> Self {
                Complex::new(<$real>::from(low.re), <$real>::from(low.im))
            }
            subtract_product!(
                $product,
                [CGemmOption::Standard, CGemmOption::Standard],
                [-1.0, 0.0],
                [1.0, 0.0]
            );
        }
    };
}

real_scalar!(f32, matrixmultiply::sgemm);
real_scalar!(f64, matrixmultiply::dgemm);
complex_scalar!(f32, matrixmultiply::cgemm);
complex_scalar!(f64, matrixmultiply::zgemm);
