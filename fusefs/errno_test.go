package fusefs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"ferry"
)

// Every kind of error has its errno, however deep it is wrapped.
func TestEveryKindHasAnErrno(t *testing.T) {
	n := 0
	for k := ferry.KindInternal; !strings.HasPrefix(k.String(), "kind "); k++ {
		n++
		want, ok := errnos[k]
		if !ok {
			t.Errorf("%s has no errno", k)
		}
		err := fmt.Errorf("wrapped: %w", &ferry.Error{Kind: k})
		if got := Errno(err); got != want {
			t.Errorf("%s gives %v, want %v", k, got, want)
		}
	}
	if n != len(errnos) {
		t.Errorf("%d kinds, %d errnos", n, len(errnos))
	}
	for err, want := range map[error]syscall.Errno{
		nil: 0, errors.New("nobody classified it"): syscall.EIO, context.Canceled: syscall.EINTR,
	} {
		if got := Errno(err); got != want {
			t.Errorf("%v gives %v", err, got)
		}
	}
}
