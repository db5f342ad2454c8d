package journal

func (j *Journal) salvage() error { return nil }
