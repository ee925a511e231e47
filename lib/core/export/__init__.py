"""Poses as files for other programs: TRC, C3D, BVH, CSV, and a folder for Pose2Sim."""
