"""One file for each layout that data comes in; every reader returns a Listing."""

from vlprompt.data.readers.ag_news import read_ag_news
from vlprompt.data.readers.aircraft import read_aircraft
from vlprompt.data.readers.arrays import read_dataset
from vlprompt.data.readers.coop import read_split_file
from vlprompt.data.readers.digits import read_digits
from vlprompt.data.readers.digits_c import read_corrupted_digits
from vlprompt.data.readers.domains import read_domain_folders, read_domain_lists
from vlprompt.data.readers.folder import read_folder
from vlprompt.data.readers.glue import Layout, read_glue
from vlprompt.data.readers.imagenet import read_imagenet, read_numbered_folders, read_wnid_folders
from vlprompt.data.readers.lama import read_lama
from vlprompt.data.readers.listing import Listing
from vlprompt.data.readers.sst2 import read_sst2
from vlprompt.data.readers.table import read_csv
from vlprompt.data.readers.text_datasets import read_text_dataset
from vlprompt.data.readers.texts import read_texts

__all__ = [
    "Layout",
    "Listing",
    "read_ag_news",
    "read_aircraft",
    "read_corrupted_digits",
    "read_csv",
    "read_dataset",
    "read_digits",
    "read_domain_folders",
    "read_domain_lists",
    "read_folder",
    "read_glue",
    "read_imagenet",
    "read_lama",
    "read_numbered_folders",
    "read_split_file",
    "read_sst2",
    "read_text_dataset",
    "read_texts",
    "read_wnid_folders",
]
