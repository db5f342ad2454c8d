package s3remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"ferry"
)

// class is what one S3 error code means to ferry.
type class struct {
	kind ferry.Kind
	msg  string // "" takes the server's own
	hint string
}

const (
	hintKeys   = "check the access key and secret, and that they belong to this server"
	hintPolicy = "the credentials lack a right: ask for s3:GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload and ListMultipartUploadParts on this bucket"
	hintRegion = "give the bucket's region with --region"
	hintSpace  = "make room in the bucket or raise its quota"
)

// errNoBucket is in the chain of errors that say that the whole bucket is gone.
// That is no answer about a key: an object in a bucket that is not mounted
// today is not absent. So it is KindTransient; only Probe makes it KindNotFound.
var errNoBucket = errors.New("the bucket does not exist")

// codes classifies S3's error codes (Amazon S3 API Reference, "Error responses";
// cmd/api-errors.go of MinIO for those that begin with XMinio).
var codes = map[string]class{
	"NoSuchKey":    {kind: ferry.KindNotFound, msg: "there is no such object"},
	"NoSuchUpload": {kind: ferry.KindNoUpload, msg: "the server does not know this upload any more"},

	"PreconditionFailed": {kind: ferry.KindConflict, msg: "another version is there"},
	// Somebody writes at this very moment: the next try gets the real answer.
	"ConditionalRequestConflict": {kind: ferry.KindTransient},
	"OperationAborted":           {kind: ferry.KindTransient},

	"AccessDenied":          {kind: ferry.KindDenied, hint: hintPolicy},
	"AllAccessDisabled":     {kind: ferry.KindDenied},
	"AccountProblem":        {kind: ferry.KindDenied},
	"InvalidAccessKeyId":    {kind: ferry.KindDenied, hint: hintKeys},
	"SignatureDoesNotMatch": {kind: ferry.KindDenied, hint: hintKeys},
	"InvalidToken":          {kind: ferry.KindDenied, hint: hintKeys},
	"InvalidObjectState":    {kind: ferry.KindDenied, hint: "the object lies in an archive: restore it first"},
	"ObjectLocked":          {kind: ferry.KindDenied, hint: "the object is locked until its retention ends"},
	// These heal without us: a token is renewed, a clock is set.
	"ExpiredToken":         {kind: ferry.KindTransient, hint: "the session token has expired"},
	"RequestTimeTooSkewed": {kind: ferry.KindTransient, hint: "this computer's clock and the server's differ: set the clock"},

	"QuotaExceeded":                      {kind: ferry.KindNoSpace, hint: hintSpace},
	"XMinioAdminBucketQuotaExceeded":     {kind: ferry.KindNoSpace, hint: hintSpace},
	"XMinioStorageFull":                  {kind: ferry.KindNoSpace, hint: hintSpace},
	"InsufficientStorage":                {kind: ferry.KindNoSpace, hint: hintSpace},
	"ServiceQuotaExceeded":               {kind: ferry.KindNoSpace, hint: hintSpace},
	"XAmzContentSHA256Mismatch":          {kind: ferry.KindCorrupt, msg: "the server received other bytes than were sent"},
	"XAmzContentChecksumMismatch":        {kind: ferry.KindCorrupt, msg: "the server received other bytes than were sent"},
	"BadDigest":                          {kind: ferry.KindCorrupt, msg: "the server received other bytes than were sent"},
	"XMinioInvalidObjectName":            {kind: ferry.KindInvalid, hint: "the server does not accept this name"},
	"XMinioInvalidResourceName":          {kind: ferry.KindInvalid, hint: "the server does not accept this name"},
	"XMinioParentIsObject":               {kind: ferry.KindInvalid, hint: "a part of the path is an object"},
	"ObjectParentIsFile":                 {kind: ferry.KindInvalid, hint: "a part of the path is an object"},
	"XMinioObjectExistsAsDirectory":      {kind: ferry.KindInvalid, hint: "a directory of this name is there"},
	"ExistingObjectIsDirectory":          {kind: ferry.KindInvalid, hint: "a directory of this name is there"},
	"EntityTooLarge":                     {kind: ferry.KindInvalid},
	"EntityTooSmall":                     {kind: ferry.KindInvalid},
	"InvalidRange":                       {kind: ferry.KindInvalid, msg: "the range lies beyond the end of the object"},
	"PermanentRedirect":                  {kind: ferry.KindInvalid, hint: hintRegion},
	"TemporaryRedirect":                  {kind: ferry.KindTransient, hint: hintRegion},
	"AuthorizationHeaderMalformed":       {kind: ferry.KindInvalid, hint: hintRegion},
	"InvalidRegion":                      {kind: ferry.KindInvalid, hint: hintRegion},
	"IllegalLocationConstraintException": {kind: ferry.KindInvalid, hint: hintRegion},
	"NotImplemented":                     {kind: ferry.KindUnsupported},
	"APINotSupported":                    {kind: ferry.KindUnsupported},
	"MethodNotAllowed":                   {kind: ferry.KindUnsupported},

	"RequestTimeout":             {kind: ferry.KindTransient},
	"IncompleteBody":             {kind: ferry.KindTransient},
	"SlowDown":                   {kind: ferry.KindTransient},
	"InternalError":              {kind: ferry.KindTransient},
	"ServiceUnavailable":         {kind: ferry.KindTransient},
	"Throttling":                 {kind: ferry.KindTransient},
	"XMinioServerNotInitialized": {kind: ferry.KindTransient, hint: "the server is starting"},
}

// classify is the one place where answers of S3 and failures of the line get
// their Kind. An error that has one keeps it; nil stays nil.
func classify(op string, key ferry.ObjectKey, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ferry.Error](err); ok {
		return err
	}
	e := &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindTransient, Err: err}
	if answer, ok := errors.AsType[minio.ErrorResponse](err); ok {
		e.Kind, e.Msg, e.Hint = classifyAnswer(answer)
		if answer.Code == "NoSuchBucket" {
			e.Err = errors.Join(errNoBucket, err)
		}
		return e
	}
	classifyLine(e, err)
	return e
}

func classifyAnswer(a minio.ErrorResponse) (kind ferry.Kind, msg, hint string) {
	switch {
	case a.Code == "NoSuchKey" && !fromS3(a):
		return ferry.KindTransient, "the answer is no answer of S3", "is this the address of an S3 server?"
	case a.Code == "NoSuchBucket":
		return ferry.KindTransient, "", "check the bucket's name, or make it with --create-bucket"
	case a.Code == "InvalidRequest" && strings.Contains(a.Message, "WORM"):
		return ferry.KindDenied, "", codes["ObjectLocked"].hint
	}
	if c, ok := codes[a.Code]; ok {
		return c.kind, c.msg, c.hint
	}
	switch s := a.StatusCode; {
	case s == http.StatusInsufficientStorage:
		return ferry.KindNoSpace, "", hintSpace
	case s == http.StatusNotImplemented || s == http.StatusMethodNotAllowed:
		return ferry.KindUnsupported, "", ""
	case s >= 500 || s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s == 499:
		return ferry.KindTransient, "", ""
	case s == http.StatusPreconditionFailed:
		return ferry.KindConflict, codes["PreconditionFailed"].msg, ""
	case s == http.StatusNotFound:
		return ferry.KindTransient, "", "is this the address of an S3 server?"
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return ferry.KindDenied, "", hintPolicy
	case s == http.StatusRequestedRangeNotSatisfiable:
		return ferry.KindInvalid, codes["InvalidRange"].msg, ""
	case s == http.StatusMovedPermanently || s == http.StatusTemporaryRedirect:
		return ferry.KindInvalid, "", hintRegion
	case s == 0 || s < 300:
		return ferry.KindTransient, "", ""
	default:
		return ferry.KindInvalid, "", ""
	}
}

// fromS3 reports whether a 404 comes from the store and not from something before
// it: minio-go takes every 404 for NoSuchKey, and a proxy's would make a name
// disappear. S3 answers in XML, or (to HEAD) with the ID of the request.
func fromS3(a minio.ErrorResponse) bool {
	return a.XMLName.Local != "" || a.RequestID != "" || a.HostID != ""
}

// classifyLine is for requests that got no answer of S3. All of them may get one
// next time; what differs is what a person can do.
func classifyLine(e *ferry.Error, err error) {
	if _, ok := errors.AsType[*dialError](err); ok {
		e.Err = errors.Join(ferry.ErrOffline, err)
		if errors.Is(err, context.Canceled) {
			e.Err = err
		}
		return
	}
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		expired x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		e.Hint = "the server's certificate is not trusted here: give its authority with --ca-cert"
	case errors.As(err, &host), errors.As(err, &expired):
		e.Hint = "the server's certificate does not fit"
	case errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Kind, e.Hint = ferry.KindInvalid, "the server does not speak TLS: give the endpoint as http://…"
	case errors.Is(err, errNotS3) || strings.Contains(err.Error(), "XML syntax error"):
		e.Hint = "is this the address of an S3 server? (MinIO's console has another port than its API)"
	}
}

// otherVersion is the error for an object that is not the version asked for.
func otherVersion(op string, key ferry.ObjectKey, cause error) error {
	return &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindConflict, Msg: codes["PreconditionFailed"].msg, Err: cause}
}

// corrupt is the error for bytes that are not what they should be.
func corrupt(op string, key ferry.ObjectKey, msg string) error {
	return &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindCorrupt, Msg: msg}
}

// transient is the error for an answer that cannot be used.
func transient(op string, key ferry.ObjectKey, msg string) error {
	return &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindTransient, Msg: msg}
}
