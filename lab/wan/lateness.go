package wan

import (
	"math/bits"
	"time"
)

// Lateness counts how much later than due packets were delivered. Buckets grow
// by about a fifth, which is exact enough for a percentile.
type Lateness struct {
	buckets [160]uint64
	count   uint64
	max     time.Duration
}

// LatenessStatus is what a lateness comes to.
type LatenessStatus struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
}

// Note counts one packet that was late by d.
func (l *Lateness) Note(d time.Duration) {
	d = max(d, 0)
	l.count++
	l.max = max(l.max, d)
	l.buckets[bucket(d)]++
}

// Status sums up.
func (l *Lateness) Status() LatenessStatus {
	return LatenessStatus{Count: l.count, P50: l.quantile(0.50), P99: l.quantile(0.99), Max: l.max}
}

// quantile is the upper edge of the bucket in which the share q is reached.
func (l *Lateness) quantile(q float64) time.Duration {
	if l.count == 0 {
		return 0
	}
	want, seen := uint64(q*float64(l.count)), uint64(0)
	for i, n := range l.buckets {
		if seen += n; seen > want {
			return min(edge(i), l.max)
		}
	}
	return l.max
}

// bucket finds a bucket by the highest bit of the microseconds and the two bits below it.
func bucket(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us < 4 {
		return int(us)
	}
	shift := bits.Len64(us) - 3
	return min(4*shift+int(us>>shift), 159)
}

// edge is the largest duration that falls into bucket i, rounded up to the next microsecond.
func edge(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i/4 - 1
	return time.Duration(uint64(i-4*shift+1)<<shift) * time.Microsecond
}
