package control

import (
	"errors"
	"fmt"
	"net/http"

	"ferry"
)

// Fault is an error on its way to the client.
type Fault struct {
	Code string `json:"code"` // the error's Kind in words, or CodeParked
	Text string `json:"text"` // a sentence
}

// CodeParked is the code of a wait that ends because what is left is parked.
const CodeParked = "parked"

// Error returns the sentence.
func (f *Fault) Error() string { return f.Text }

// NewFault turns err into what the client sees.
func NewFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Code: ferry.KindOf(err).String(), Text: err.Error()}
}

// Kind returns the Kind that the daemon gave the error.
func (f *Fault) Kind() ferry.Kind {
	// KindBadHandle is the last of them: a new kind goes behind it unseen here,
	// and is then KindInternal to the client, which is what unknown means.
	for k := ferry.KindInternal; k <= ferry.KindBadHandle; k++ {
		if k.String() == f.Code {
			return k
		}
	}
	return ferry.KindInternal
}

// httpStatus gives each Kind that a control call can end with its number.
func httpStatus(k ferry.Kind) int {
	switch k {
	case ferry.KindNotFound:
		return http.StatusNotFound
	case ferry.KindInvalid:
		return http.StatusBadRequest
	case ferry.KindBusy, ferry.KindConflict, ferry.KindExists:
		return http.StatusConflict
	case ferry.KindUnsupported:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}

func invalid(format string, args ...any) error {
	return &ferry.Error{Op: "control.request", Kind: ferry.KindInvalid, Msg: fmt.Sprintf(format, args...)}
}
