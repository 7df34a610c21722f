package state

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What callers can tell apart.
var (
	// ErrDeposed: another tower has claimed; stop driving.
	ErrDeposed = errors.New("another tower drives")
	// ErrNoQuorum: the write may or may not have happened; nobody answered in time.
	ErrNoQuorum = errors.New("no quorum of towers answered in time")
	// ErrConflict: somebody changed it first; read it again, then retry.
	ErrConflict = errors.New("somebody changed it first")
	// ErrOutOfLine: the records are an older copy's, or one tower's alone, and what agents have seen since is not known yet.
	ErrOutOfLine = errors.New("nobody may drive yet")
	// ErrStale: people's settings have changed since the decision; decide again.
	ErrStale = errors.New("settings changed since this was decided")
	// ErrOldEpoch: a store's record would go back to a lower epoch.
	ErrOldEpoch = errors.New("the store has a higher epoch already")
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the run has ended.
	ErrClosed = errors.New("the run is closed")
	// ErrNoSpace: etcd is over its quota and refuses writes.
	ErrNoSpace = errors.New("etcd is over its quota and refuses writes (NOSPACE)")
)

// passing are the faults that another attempt may outlive.
var passing = []error{
	rpctypes.ErrNoLeader, rpctypes.ErrNotLeader, rpctypes.ErrLeaderChanged, rpctypes.ErrTimeout,
	rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrTimeoutWaitAppliedIndex,
	rpctypes.ErrUnhealthy, rpctypes.ErrTooManyRequests, context.DeadlineExceeded,
}

// retryable says whether to try again; the outcome of what failed is unknown.
func retryable(err error) bool {
	for _, p := range passing {
		if errors.Is(err, p) {
			return true
		}
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// final turns the error of an attempt that is not repeated into ours.
func final(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("state: %w", ErrNoSpace)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("state: %w: one record may have about 1 MB", err)
	}
	return fmt.Errorf("state: %w", err)
}

// gaveUp is the error when ctx ended before an attempt succeeded.
func gaveUp(ctx context.Context, last error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("state: %w", context.Cause(ctx))
	}
	if last == nil {
		last = ctx.Err()
	}
	return fmt.Errorf("state: %w (last: %v)", ErrNoQuorum, last)
}
