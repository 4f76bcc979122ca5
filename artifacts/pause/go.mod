module armillary/artifacts/pause

go 1.26.0
